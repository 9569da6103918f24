/* See start-file.h. All arithmetic is in 64 bits on 32-bit fields, so no sum can wrap. */
#include "start-file.h"

#include <errno.h>
#include <string.h>

/* The place after `count` strings that start at `at`, or NULL when one of them does not end before `end`. */
static const char *after_strings(const char *at, const char *end, uint32_t count) {
  for (; count > 0; count--) {
    const char *nul = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL;
    if (!nul) return NULL;
    at = nul + 1;
  }
  return at;
}

static bool kind_is_known(uint32_t kind) { return kind <= STDIO_FILE; }

static bool is_meaningful(const struct start_view *view) {
  const struct start_entry *entry = view->entry;
  return entry->argc > 0 && view->argv[0] != 0 && entry->groups <= 65536 && entry->cpu_bytes <= 8192 && entry->rlimits <= 64 &&
         (entry->flags & ~(uint32_t)(START_PMI | START_NO_SHARED_ENV)) == 0 && entry->umask <= 0777 &&
         kind_is_known(entry->stdin_kind) && entry->stdin_kind != STDIO_FILE && kind_is_known(entry->stdout_kind) &&
         kind_is_known(entry->stderr_kind) &&
         (entry->stderr_kind != STDIO_PTY || entry->stdin_kind == STDIO_PTY || entry->stdout_kind == STDIO_PTY) &&
         (entry->stdout_kind != STDIO_FILE || view->stdout_file[0] != 0) &&
         (entry->stderr_kind != STDIO_FILE || view->stderr_file[0] != 0);
}

int start_entry_at(const void *bytes, size_t length, uint64_t *offset, struct start_view *view) {
  uint64_t start = *offset;
  if (start % 8 != 0 || start > length || length - start < sizeof(struct start_entry)) return -EINVAL;
  const char *base = (const char *)bytes + start;
  const struct start_entry *entry = (const void *)base;
  if (entry->length < sizeof *entry || entry->length % 8 != 0 || entry->length > length - start) return -EINVAL;

  uint64_t rlimits = sizeof *entry;
  uint64_t groups = rlimits + (uint64_t)entry->rlimits * sizeof(struct start_rlimit);
  uint64_t mask = groups + (uint64_t)entry->groups * sizeof(uint32_t);
  uint64_t strings = mask + entry->cpu_bytes;
  if (strings > entry->length) return -EINVAL;

  const char *end = base + entry->length;
  view->entry = entry;
  view->rlimits = (const void *)(base + rlimits);
  view->groups = (const void *)(base + groups);
  view->cpu_mask = (const uint8_t *)(base + mask);
  view->working_directory = base + strings;
  view->search_path = after_strings(view->working_directory, end, 1);
  if (!view->search_path) return -EINVAL;
  view->stdout_file = after_strings(view->search_path, end, 1);
  if (!view->stdout_file) return -EINVAL;
  view->stderr_file = after_strings(view->stdout_file, end, 1);
  if (!view->stderr_file) return -EINVAL;
  view->argv = after_strings(view->stderr_file, end, 1);
  if (!view->argv) return -EINVAL;
  view->envp = after_strings(view->argv, end, entry->argc);
  if (!view->envp || !after_strings(view->envp, end, entry->envc)) return -EINVAL;
  view->meaningful = is_meaningful(view);
  *offset = start + entry->length;
  return 0;
}

int start_file_check(const void *bytes, size_t length) {
  const struct start_file *file = bytes;
  if (length < sizeof *file) return -EINVAL;
  if (file->magic != MUSTER_MAGIC || file->abi != MUSTER_ABI || file->length != length) return -EINVAL;
  if (file->shared_env_offset < sizeof *file || file->shared_env_offset > length) return -EINVAL;
  if (file->entries_offset < sizeof *file) return -EINVAL;
  const char *end = (const char *)bytes + length;
  if (!after_strings((const char *)bytes + file->shared_env_offset, end, file->shared_env_count)) return -EINVAL;
  uint64_t offset = file->entries_offset;
  for (uint32_t i = 0; i < file->count; i++) {
    struct start_view view;
    if (start_entry_at(bytes, length, &offset, &view) < 0) return -EINVAL;
  }
  return 0;
}
