/* Feeds START files to the parser under sanitizers: records of u32 length and bytes on stdin, one verdict a line on stdout
 * ("ok COUNT MEANINGFUL BYTES" or "refused"). Each file lies at the end of its own allocation, so one byte too far is caught.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../rank-init/start-file.h"

/* Touches every byte that the entry says is its own. */
static size_t touch(const struct start_view *view) {
  const struct start_entry *entry = view->entry;
  size_t sum =
      strlen(view->working_directory) + strlen(view->search_path) + strlen(view->stdout_file) + strlen(view->stderr_file);
  for (uint32_t i = 0; i < entry->rlimits; i++) sum += view->rlimits[i].soft & 1;
  for (uint32_t i = 0; i < entry->groups; i++) sum += view->groups[i] & 1;
  for (uint32_t i = 0; i < entry->cpu_bytes; i++) sum += view->cpu_mask[i] & 1;
  const char *text = view->argv;
  for (uint32_t i = 0; i < entry->argc; i++, text += strlen(text) + 1) sum += strlen(text);
  text = view->envp;
  for (uint32_t i = 0; i < entry->envc; i++, text += strlen(text) + 1) sum += strlen(text);
  return sum;
}

int main(void) {
  uint32_t length;
  while (fread(&length, sizeof length, 1, stdin) == 1) {
    char *bytes = malloc(length ? length : 1);
    if (fread(bytes, 1, length, stdin) != length) return 1;
    if (start_file_check(bytes, length) < 0) {
      printf("refused\n");
    } else {
      const struct start_file *file = start_file_header(bytes);
      uint64_t offset = file->entries_offset;
      size_t sum = 0, meaningful = 0;
      for (uint32_t i = 0; i < file->count; i++) {
        struct start_view view;
        if (start_entry_at(bytes, length, &offset, &view) < 0) return 2;
        sum += touch(&view);
        meaningful += view.meaningful;
      }
      const char *text = bytes + file->shared_env_offset;
      for (uint32_t i = 0; i < file->shared_env_count; i++, text += strlen(text) + 1) sum += strlen(text);
      printf("ok %u %zu %zu\n", file->count, meaningful, sum);
    }
    free(bytes);
  }
  return 0;
}
