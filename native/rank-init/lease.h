/* The dead-man timer: stops every rank when the lease expires that an agent renews, and kills them at its hard end, though no
 * agent is left to do it. What follows from what is a table (guard.gen.h). Before the first renewal there is no lease and no
 * timer. Times are CLOCK_BOOTTIME, which also runs while the machine sleeps; they stand in the state table for the next agent.
 * The timer is a POSIX timer, since CRIU restores no timerfd of this clock.
 */
#ifndef MUSTER_LEASE_H
#define MUSTER_LEASE_H

#include <stdbool.h>

#include "protocol.h"

/* 0 or -errno: -EKEYEXPIRED past the hard end, -ESTALE for an epoch that is over. The hard end is looked for first. */
int lease_renew(const struct renewal *renewal);

/* Does what is due; called after each SIGALRM, and after the messages that are there: of a restored image whose times are those of
 * another machine, the renewal of the next epoch is to be read first. */
void lease_watch(void);

/* Whether ranks must not run. */
bool lease_forbids(void);

/* The agent has ranks stand still where there is no freezer; a renewal leaves them so. Returns 0 or -errno. */
int lease_hold(bool held);

#endif
