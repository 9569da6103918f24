/* See beside.h. */
#include "beside.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The shell that CRIU may be started by hands the library on, and is none of its business. */
static bool is_engine(void) {
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length <= 0) return false;
  path[length] = 0;
  const char *name = strrchr(path, '/');
  size_t end = strlen(path);
  return name && strcmp(path + end - 2, "sh") != 0 && strcmp(name, "/busybox") != 0;
}

uint32_t process_at(int fd, const char *file) {
  char link[40] = "/proc/self/fd/", path[128], digits[16];
  size_t at = strlen(link), count = 0, suffix = strlen(file);
  for (int rest = fd; count == 0 || rest > 0; rest /= 10) digits[count++] = (char)('0' + rest % 10);
  while (count > 0) link[at++] = digits[--count];
  link[at] = 0;
  ssize_t length = fd < 0 ? 0 : readlink(link, path, sizeof path - 1);
  if (length <= (ssize_t)suffix || length == sizeof path - 1) return 0;
  path[length] = 0;
  char *end = path + length - suffix;
  if (strcmp(end, file) != 0) return 0;
  char *first = end;
  while (first > path && first[-1] >= '0' && first[-1] <= '9') first--;
  return (uint32_t)strtoul(first, NULL, 10);
}

__attribute__((constructor)) static void begin(void) {
  const char *descriptors = getenv("MUSTER_BESIDE"), *maps = getenv("MUSTER_MAPS");
  char *rest;
  if (!descriptors || !is_engine()) return;
  kernel_begin((int)strtol(descriptors, &rest, 10));
  if (*rest == ':') {
    int ranges = (int)strtol(rest + 1, &rest, 10);
    pages_begin(ranges, (int)strtol(rest + 1, NULL, 10));
  }
  if (maps) {
    int file = (int)strtol(maps, &rest, 10);
    maps_begin(file, (int)strtol(rest + 1, NULL, 10));
  }
  /* Nor are the programs that CRIU starts. */
  unsetenv("LD_PRELOAD");
  unsetenv("MUSTER_BESIDE");
  unsetenv("MUSTER_MAPS");
}
