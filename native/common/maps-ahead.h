/* What the kernel says of the mappings of processes that are about to be dumped (/proc/PID/smaps, which takes as long as they have memory), read
 * by native/engine while CRIU starts, for native/criu-beside, which gives it to CRIU when that asks. They share the file that this is the
 * beginning of; for each process that is done there is a byte in a pipe besides.
 *
 *   MUSTER_MAPS=FILE:PIPE   descriptors of both, in CRIU
 */
#ifndef MUSTER_COMMON_MAPS_AHEAD_H
#define MUSTER_COMMON_MAPS_AHEAD_H

#include <stdatomic.h>
#include <stdint.h>

enum { MAPS_AWAITED, MAPS_READ, MAPS_UNREADABLE };

struct process_maps {
  uint32_t pid;
  _Atomic uint32_t state;
  uint64_t offset, length; /* of the text in the file */
};

struct maps_ahead {
  _Atomic uint32_t count; /* at last: until then nothing has begun */
  _Atomic uint32_t next;  /* to be read */
  _Atomic uint64_t end;   /* of the file */
  struct process_maps processes[];
};

#endif
