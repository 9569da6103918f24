/* The connections to this machine's agents, one for each sandbox of the job that runs here: opened when the control plane names
 * the sandbox, and again, every 100 ms, when an agent went away before the sandbox's output had ended. */
#ifndef MUSTER_FRONT_SANDBOXES_H
#define MUSTER_FRONT_SANDBOXES_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packet.h"
#include "streams.h"

struct sandbox {
  uint32_t ordinal, incarnation;
  bool takes_input; /* what comes on stdin is written into its spool */
  bool ended;
  bool given_up;
  bool untold; /* the agent's queue was full */
  char *path;
  char *refusal;       /* what the agent said last */
  int fd;              /* -1: not connected */
  uint32_t connection; /* number of this connection, for streams */
  uint64_t connected_ns, retry_ns, give_up_ns;
};

struct sandboxes {
  struct sandbox *all;
  size_t count;
  size_t ended;
};

extern struct sandboxes sandboxes;

/* The job's words in FRONT_OPEN. */
void sandboxes_of(const char *uid, const char *token);
/* FRONT_SANDBOX's body. 0 or -errno. */
int sandboxes_named(const uint8_t *body, size_t length);
/* Connects what is due. */
void sandboxes_connect(uint64_t now);
/* When something is due next, 0 = never. */
uint64_t sandboxes_due(void);
/* Takes all packets that are there; an error text for the user when the job cannot be shown any more, else NULL. */
const char *sandboxes_receive(struct sandbox *sandbox);
/* Tells the stream's agent what has been shown of it. False: not now. */
bool sandboxes_tell(const struct stream *stream);
/* The connection of this ordinal, or -1. */
int sandboxes_fd(uint32_t ordinal);
/* The first sandbox that has been waited for in vain, or NULL. */
const struct sandbox *sandboxes_lost(uint64_t now);

#endif
