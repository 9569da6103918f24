/* The state table: what agents read, and the only thing in the sandbox that says how a process ended.
 *
 * It hands out slots, collects every child of pid 1 (also orphans that nobody asked for), and tells agents of changes once
 * a turn of the loop. Fields of a slot are written before its state, so a reader that sees the state sees the rest. It knows
 * nothing of messages.
 */
#ifndef MUSTER_SLOTS_H
#define MUSTER_SLOTS_H

#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

/* Makes FD_STATE, FD_EVENT, FD_JOURNAL and the failure pipe; 0 or -errno. */
int slots_open(uint32_t slots_max);

struct state_table *slots_table(void);
struct slot *slot_at(uint32_t index); /* NULL when never given out */

/* The slot of this start, or -1. */
int64_t slot_of_start(uint32_t rank, uint32_t start_id);

/* The next slot, filled in but not yet seen by readers; there is room (checked by the caller). */
struct slot *slot_prepare(uint32_t rank, uint32_t start_id, uint32_t flags);
void slot_show_running(struct slot *slot, pid_t pid);
void slot_show_not_started(struct slot *slot, enum start_stage stage, int error);

/* Said by a child on FD_FAILURE_WRITE instead of executing its program. */
struct start_failure {
  uint32_t slot;
  uint32_t stage;
  int32_t error;
  uint32_t reserved;
};

/* Collects whatever has ended, until there is nothing more. */
void slots_reap(void);

/* Notes that readers should look; `slots_publish` tells them. */
void slots_touch(void);
void slots_publish(void);

#endif
