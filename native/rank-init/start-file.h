/* Reads a START file: checks every bound once, then hands out entries whose parts may be used without looking again.
 *
 * Pure: bytes in, pointers into them out; it knows no descriptors and no processes. A file whose structure is wrong is
 * refused as a whole (-EINVAL); an entry whose structure is right but which asks for nonsense is told by `meaningful`.
 */
#ifndef MUSTER_START_FILE_H
#define MUSTER_START_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

struct start_view {
  const struct start_entry *entry;
  const struct start_rlimit *rlimits;
  const uint32_t *groups;
  const uint8_t *cpu_mask;
  const char *working_directory;
  const char *search_path;
  const char *stdout_file;
  const char *stderr_file;
  const char *argv; /* the first of entry->argc strings, back to back */
  const char *envp; /* the first of entry->envc strings */
  bool meaningful;
};

/* 0 when every part of the file lies within `length`; -EINVAL otherwise. `bytes` is aligned to 8. */
int start_file_check(const void *bytes, size_t length);

/* The entry at `offset` of a file; 0 and the offset of the next one, or -EINVAL. */
int start_entry_at(const void *bytes, size_t length, uint64_t *offset, struct start_view *view);

static inline const struct start_file *start_file_header(const void *bytes) { return bytes; }

#endif
