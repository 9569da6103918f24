/* Pages that came before the processes did (PreCopy): the files `copied.index` and `copied.pages` of the image's directory. It knows no
 * processes: whose page it is the number in the sandbox says.
 */
#ifndef MUSTER_PAGER_STORE_H
#define MUSTER_PAGER_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

struct store {
  const struct copy *copies;
  size_t count;
  const uint8_t *pages;
};

/* Without them it is empty. -1: they cannot be read. */
int store_open(struct store *store);
/* The copy that begins there, and sets how many of at most so many bytes follow in it; NULL: there is none. */
const uint8_t *store_find(const struct store *store, uint32_t pid, uint64_t address, uint64_t *bytes);

#endif
