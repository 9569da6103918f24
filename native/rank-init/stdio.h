/* The pipes, pty and PMI socketpair of one rank: made before its fork, one half for the child, the other kept for agents.
 *
 * Files are not opened here: that is done by the child, as its user.
 */
#ifndef MUSTER_STDIO_H
#define MUSTER_STDIO_H

#include "protocol.h"

struct stdio {
  int child[4]; /* for descriptors 0 to 3 of the child; -1: nothing (0 to 2 are then /dev/null) */
  int terminal; /* the pty's slave, -1 without one; it may stand in `child` several times */
};

/* Fills `stdio` and the slot's descriptors; 0 or -errno, then nothing stays open. */
int stdio_make(const struct start_entry *entry, struct stdio *stdio, struct slot *slot);

/* Closes the child's half in rank-init. */
void stdio_close_child(struct stdio *stdio);

/* Closes some of a slot's descriptors (CLOSE_*). A pty's master goes with the last of those that use it. */
void stdio_close_kept(struct slot *slot, uint32_t which);

#endif
