/* The memory of the restored processes: which pages of theirs are missing, what the kernel tells of it, and filling it in. It knows
 * userfaultfd and no sockets. A page is missing in a process until it is filled, or until the process gives it up (munmap, MADV_DONTNEED,
 * its end); a child made meanwhile misses what its parent missed. Functions return 0, or -1 when memory can no longer be trusted.
 */
#ifndef MUSTER_PAGER_MEMORY_H
#define MUSTER_PAGER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

/* Missing pages in a row. `from`: their address where the process left; they may have been moved since. */
struct run {
  uint64_t at, from, bytes;
  bool asked;
};

struct process {
  int uffd;
  uint32_t pid; /* of whose memory it is: that of its parent, if it was made here */
  bool gone;
  struct run *runs;
  size_t count, room;
};

struct memory {
  struct process *processes;
  size_t count;
  struct missing *table;
  size_t table_count;
};

/* Called when a process waits for a page: these bytes are to come first. */
typedef void (*wanted)(uint32_t pid, uint64_t from, uint64_t bytes);

int memory_read_table(struct memory *memory, const char *path);
int memory_add(struct memory *memory, uint32_t pid, int uffd);
/* Takes in what the kernel has to tell of a process. */
int memory_events(struct memory *memory, size_t index, wanted want);
/* Puts in bytes that came, wherever they are missing. */
int memory_fill(struct memory *memory, uint32_t pid, uint64_t from, const uint8_t *data, uint64_t bytes, wanted want);
/* The next bytes that nobody has asked for, at most a block; false: there are none. */
bool memory_next(struct memory *memory, uint32_t *pid, uint64_t *from, uint64_t *bytes);
/* Whoever was asked does not answer any more. */
void memory_forget_asked(struct memory *memory);
uint64_t memory_missing(const struct memory *memory);

#endif
