/* What the agent and the library say to each other, in two files that CRIU is started with. Numbers are of this machine's order. Said again
 * in node-agent/checkpoint/pages-apart.ts. */
#ifndef MUSTER_CRIU_PAGES_PROTOCOL_H
#define MUSTER_CRIU_PAGES_PROTOCOL_H

#include <stdint.h>

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

#endif
