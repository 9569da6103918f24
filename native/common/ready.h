/* How launch and rank-init hand over: the socketpair whose one end is descriptor READY_FD of the sandbox's pid 1.
 *
 * Until it is ready, pid 1 tells on it where setting up failed; rank-init then sends a report without an error and waits for
 * one byte. The end of the socket instead of the byte means that launch is gone before anybody was told of the sandbox:
 * rank-init exits, and the kernel ends the sandbox with it.
 */
#ifndef MUSTER_COMMON_READY_H
#define MUSTER_COMMON_READY_H

#include <stdint.h>

enum { READY_FD = 3 };
#define READY_MAGIC 0x59445252u /* "RRDY" */
#define READY_GO 'G'

struct ready_report {
  uint32_t magic;
  int32_t error; /* 0: ready; else errno */
  char stage[24];
  char path[1000];
};

#endif
