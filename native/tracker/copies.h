/* Where in a file the last copy of each page is: of every process runs of pages by address, which follow one another in the file. It knows
 * no process and reads no memory.
 */
#ifndef MUSTER_TRACKER_COPIES_H
#define MUSTER_TRACKER_COPIES_H

#include <stddef.h>
#include <stdint.h>

#include "../pager/protocol.h"
#include "track.h"

struct copies {
  struct copy *all; /* by address, none over another */
  size_t count, room;
};

/* Those of `newer`, by address, stand for what was there before. -ENOMEM, or 0. */
int copies_overlay(struct copies *copies, const struct copies *newer);
int copies_add(struct copies *copies, struct copy copy);
/* What of the range has no copy. */
int copies_gaps(const struct copies *copies, uint64_t start, uint64_t end, struct spans *gaps);

#endif
