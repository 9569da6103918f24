/* Preloaded into CRIU, each time that the agent starts it: keeps from it what it need not look at (pages.c, tracked.c), for it what it need not
 * find out again (kernel.c) or has been asked for ahead (maps.c), gives it of a queue what is in it and no more (queue.c), and has less done of
 * what others do for it (tar.c). A CRIU that cannot load this does without, and is slower.
 *
 *   MUSTER_BESIDE=KERNEL[:RANGES:FOUND]   descriptors of the agent's: of what CRIU knows of the kernel; of `struct apart` lines, and of the
 *                                         file that gets `struct missing` lines. Numbers are of this machine's order. Said again in
 *                                         node-agent/checkpoint/pages-apart.ts
 *
 * It uses none but the oldest functions of a C library, and links with none: it is loaded beside whichever CRIU has.
 */
#ifndef MUSTER_CRIU_BESIDE_H
#define MUSTER_CRIU_BESIDE_H

#include <stdint.h>

#define EXPORTED __attribute__((visibility("default")))

/* Memory of a process that is to be left out; sorted by process and address, none over another. */
struct apart {
  uint32_t pid;   /* as CRIU sees it */
  uint32_t inner; /* as the sandbox numbers it */
  uint64_t start, end;
};

/* What was there of it, as native/pager/protocol.h has it. */
struct missing {
  uint32_t inner;
  uint32_t pages;
  uint64_t address;
};

void pages_begin(int ranges, int found);
void kernel_begin(int kernel);
void maps_begin(int file, int told);

/* Of the process whose directory in /proc it is, or, within that, this file; 0: it is none. */
uint32_t process_at(int fd, const char *file);

#endif
