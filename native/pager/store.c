/* See store.h. */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* NULL and 0 bytes: it is not there, or empty. */
static int map(const char *name, const void **at, size_t *bytes) {
  struct stat stat;
  *at = NULL;
  *bytes = 0;
  int fd = open(name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? 0 : -1;
  if (fstat(fd, &stat) < 0) return -1;
  if (stat.st_size > 0) {
    void *mapped = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) return -1;
    *at = mapped;
    *bytes = (size_t)stat.st_size;
  }
  close(fd);
  return 0;
}

int store_open(struct store *store) {
  const void *index, *pages;
  size_t index_bytes, pages_bytes;
  if (map("copied.index", &index, &index_bytes) < 0 || map("copied.pages", &pages, &pages_bytes) < 0) return -1;
  *store = (struct store){index, index_bytes / sizeof(struct copy), pages};
  for (size_t i = 0; i < store->count; i++) { /* it came from another node */
    const struct copy *copy = &store->copies[i];
    if (copy->offset > pages_bytes || copy->bytes > pages_bytes - copy->offset) return (errno = EINVAL, -1);
  }
  return 0;
}

const uint8_t *store_find(const struct store *store, uint32_t pid, uint64_t address, uint64_t *bytes) {
  size_t low = 0, high = store->count; /* the last that begins there or before */
  while (low < high) {
    size_t middle = (low + high) / 2;
    const struct copy *copy = &store->copies[middle];
    if (copy->pid < pid || (copy->pid == pid && copy->address <= address)) low = middle + 1;
    else high = middle;
  }
  const struct copy *copy = low == 0 ? NULL : &store->copies[low - 1];
  if (!copy || copy->pid != pid || address - copy->address >= copy->bytes) return NULL;
  uint64_t offset = address - copy->address;
  if (*bytes > copy->bytes - offset) *bytes = copy->bytes - offset;
  return store->pages + copy->offset + offset;
}
