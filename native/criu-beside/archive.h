/* What is in a directory, as an archive of tar's (archive.c). */
#ifndef MUSTER_CRIU_BESIDE_ARCHIVE_H
#define MUSTER_CRIU_BESIDE_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BLOCK = 512, LONGEST_NAME = 99, CHUNK = 1 << 16 };

/* One block, as GNU tar has it. */
struct header {
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], kind, target[100], magic[8], names[64], major[8],
      minor[8], rest[167];
};

uint32_t header_sum(const struct header *header);

/* Each gives false for what it leaves to tar itself, which may begin anew then. From here: */
bool archive_pack(int directory, int out);
/* Into an empty directory: */
bool archive_unpack(int in, const char *directory);

#endif
