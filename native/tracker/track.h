/* What a process writes: its private memory is watched by a userfaultfd that the kernel serves itself (WP_ASYNC), so that it goes on
 * at the price of one short fault a page, and PAGEMAP_SCAN says from outside which pages it has written. A page is clean only when it is
 * watched and was not written since it was last looked at; all else that is there counts as written.
 */
#ifndef MUSTER_TRACKER_TRACK_H
#define MUSTER_TRACKER_TRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PAGE = 4096 };

/* Pages in a row. */
struct span {
  uint64_t start, end;
};

struct spans {
  struct span *all;
  size_t count, room;
};

struct tracked {
  pid_t pid;
  uint32_t inner; /* as its sandbox numbers it */
  int uffd;       /* -1: it is not watched, and all of it counts as written */
  int pagemap, memory;
};

/* Watches it. -errno when it is gone; one that cannot be watched is none the worse. */
int track_open(struct tracked *process, pid_t pid);
/* Lets it go: nothing of it is watched any more. */
void track_close(struct tracked *process);
/* Mappings that have come since are watched too. Gives the ranges of private memory. */
int track_mappings(struct tracked *process, struct spans *ranges);
/* Of these ranges, what was written since the last time. `again`: from now on only what is written after this. */
int track_written(struct tracked *process, const struct spans *ranges, bool again, struct spans *written);
int spans_add(struct spans *spans, uint64_t start, uint64_t end);
uint64_t spans_bytes(const struct spans *spans);

#endif
