/* The control socket: takes messages one at a time, carries them out, answers.
 *
 * A reply that does not fit into the agent's queue is kept, and no further message is read until it went: so a dead agent's
 * unread replies stop nothing but its own messages, and its successor, which reads them, frees the queue.
 */
#ifndef MUSTER_CONTROL_H
#define MUSTER_CONTROL_H

#include <stdbool.h>
#include <sys/resource.h>

/* Makes FD_CONTROL and FD_CONTROL_AGENT; 0 or -errno. */
int control_open(struct rlimit open_files);

/* Reads and carries out what is there, a bounded number of messages. */
void control_read(void);

/* A reply waits: poll for writing instead of reading, then call `control_flush`. */
bool control_is_blocked(void);
void control_flush(void);

#endif
