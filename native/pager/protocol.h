/* What the pager and the agent say to each other on the socket `pages` of the image's directory, and the table of what is missing.
 * Numbers are of this machine's order. Said again in node-agent/migration/pager.ts. */
#ifndef MUSTER_PAGER_PROTOCOL_H
#define MUSTER_PAGER_PROTOCOL_H

#include <stdint.h>

enum message_kind {
  MESSAGE_WANT = 1, /* to the agent: these bytes of this process, as they were where it left */
  MESSAGE_LEFT = 2, /* to the agent: so many bytes are missing yet */
  MESSAGE_DATA = 3, /* from the agent: `bytes` of them follow */
  MESSAGE_GO = 4,   /* from the agent: they run; fetch also what nobody waits for */
};

struct message {
  uint32_t kind;
  uint32_t pid; /* as the sandbox numbers it */
  uint64_t address;
  uint64_t bytes;
};

/* A line of the file `pages.table`. */
struct missing {
  uint32_t pid;
  uint32_t pages;
  uint64_t address;
};

/* A line of the file `copied.index`: where in `copied.pages` the last copy of these bytes is. By process and address, none over another. */
struct copy {
  uint32_t pid, unused;
  uint64_t address, bytes, offset;
};

enum { BLOCK_BYTES = 1 << 20, MOST_DATA_BYTES = 1 << 20 };

#endif
