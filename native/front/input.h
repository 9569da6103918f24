/* The front's stdin on its way to the job: appended to a spool file on this machine, or sent in packets within the window that
 * the control plane gives; a spool has a window too, so that a slow job bounds what lies on disk. A terminal is read only while this process is in its foreground. What was read is kept until it has
 * been written or sent, and the last window's worth until it can no longer be asked for again. When the ranks that read it move, what
 * they did not take along is read again from the spool that they have left; until that is safe no more of stdin is read. */
#ifndef MUSTER_FRONT_INPUT_H
#define MUSTER_FRONT_INPUT_H

#include <stdbool.h>
#include <stdint.h>

enum input_road { INPUT_NONE, INPUT_SPOOL, INPUT_RELAY };

struct input {
  enum input_road road;
  uint32_t ordinal; /* the sandbox whose spool it is */
  int spool;
  uint64_t length; /* bytes read and handed over */
  uint64_t told;   /* of them told with FRONT_INPUT */
  uint64_t window; /* bytes may go up to here */
  uint64_t safe;   /* relayed bytes before this are never asked for again */
  bool ended, end_told;
  uint64_t retry_ns; /* the spool's disk is full */
};

extern struct input input;

/* Takes `fd`. */
void input_spool(uint32_t ordinal, int fd, uint64_t length, uint64_t window);
/* Its agent is connected anew, maybe another one: it is told of nothing before it has given its spool. */
void input_connected(uint32_t ordinal);
/* The sandbox has gone to another machine: input is relayed from now on. */
void input_gone(uint32_t ordinal);
void input_window(uint64_t window, uint64_t safe);
void input_spool_window(uint32_t ordinal, uint64_t window);
/* Whether stdin should be polled now. */
bool input_wanted(void);
/* Stdin is ready. */
void input_read(void);
/* Sends what is due on the control connection (relay) or to the agent (spool). False: the queue is full, poll for room. */
bool input_tell(int control, int agent);
/* After a new connection everything in question is sent again. */
void input_again(void);

#endif
