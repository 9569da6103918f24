/* What the front (the C program behind `muster run`) says to the control plane and to the agents of its own machine.
 *
 * AF_UNIX SOCK_SEQPACKET; a packet is a u32 type, then what is said below; big things ride in memfds. The front is the one
 * who writes to the terminal: agents hand it read-only descriptors of log segments, it copies from them at offsets that it
 * alone keeps, so neither a slow terminal nor a killed agent or controller loses or doubles a byte.
 */
#ifndef MUSTER_FRONT_PROTOCOL_H
#define MUSTER_FRONT_PROTOCOL_H

#include <stdint.h>

/* As a window: nobody reads standard input any more, and whoever writes it is to hear of that. */
#define FRONT_NOBODY_READS ((UINT64_C(1) << 53) - 1)

enum front_type {
  /* front to control plane */
  FRONT_RUN = 1, /* text "key again(0|1)", one descriptor: memfd with struct front_request. The key is 32 hexadecimal digits that
                         nobody else knows; asked again with the same key the same job is meant, and made once */
  FRONT_SIGNAL = 2, /* i32: SIGINT once ends the job, twice kills it; SIGTSTP suspends, SIGCONT resumes; others are passed on */
  FRONT_STDIN = 3,  /* u64 offset, bytes: only for a stdin whose node is not of this machine; empty: end */
  FRONT_ATTACH = 4, /* after a lost connection: u64 length of the text, text "uid token", to go on. Input that was relayed
                         is sent again from at most 256 KiB before its end: a window never reaches further beyond what is safe */
  FRONT_SHOWN = 5,  /* records {u32 rank, u32 stream, u64 offset}: relayed output that has been written out */
  /* control plane to front */
  FRONT_TEXT = 16, /* u32 descriptor (1 or 2), text: help, an error; shown as is */
  FRONT_JOB = 17,  /* text "uid name token flags": the job is accepted. Flags: 1 = labels, 2 = say what has been
                           shown (FRONT_SHOWN, FRONT_SHOWN_HERE): ranks wait for it when the log is full */
  FRONT_SANDBOX =
      18,          /* u32 ordinal, u32 incarnation, u32 flags (1 = stdin goes here), text: path of the agent's socket; empty: it
                           has gone to another machine, and its output is relayed from now on, and input from where the
                           next FRONT_WINDOW says that it is safe */
  FRONT_DATA = 19, /* u32 rank, u32 stream (1, 2), u64 offset, bytes: relayed output of a node elsewhere */
  FRONT_SUSPENDED = 20, /* the job is frozen: the front stops itself */
  FRONT_DONE = 21,      /* i32 exit code, u32 sandboxes that must have ended first, text for stderr (may be empty) */
  FRONT_WINDOW = 22,    /* u64, u64: relayed stdin may be sent up to this offset; what is before the other is in every spool */
  /* front to agent */
  FRONT_OPEN = 32,       /* text "uid ordinal incarnation token": send me this sandbox's output */
  FRONT_INPUT = 33,      /* u64 length, u32 end: the stdin spool has grown to this */
  FRONT_SHOWN_HERE = 34, /* records {u32 id, u32 0, u64 offset}: output that has been written out */
  /* agent to front */
  FRONT_STREAM = 48, /* u32 id, u32 rank, u32 stream, u32 0, u64 first offset of the segment; one descriptor (read only).
                         Ids are a connection's own; the first segment may start before what the front has already */
  FRONT_GREW = 49,   /* records {u32 id, u32 flags (1 = end), u64 length of the stream so far}; may come before FRONT_STREAM */
  FRONT_INPUT_FD =
      50, /* u64 length so far, u64 window; one descriptor (that appends): write stdin here, then FRONT_INPUT. Another file
                          than before is that of a sandbox that has moved: what it did not take along is written here again */
  FRONT_ENDED = 51,   /* every stream of the sandbox has ended and all lengths are told (by the agent itself in a FRONT_GREW right
                         before this: its pump's own may still wait for room in the queue) */
  FRONT_REFUSED = 52, /* text */
  FRONT_INPUT_WINDOW = 53, /* u64: the spool may be written up to this offset */
};

/* Header of the request memfd; strings follow, NUL-terminated: argv (from "run" on), environment, then the working directory. */
struct front_request {
  uint32_t magic; /* 0x46545352 "RSTF" */
  uint32_t version;
  uint32_t argc, envc;
  uint32_t umask;
  uint32_t terminal; /* bit n: descriptor n is a terminal */
  uint16_t rows, columns;
  uint32_t rlimits; /* count of {u32 resource, u32 0, u64 soft, u64 hard} right after this header */
};

#endif
