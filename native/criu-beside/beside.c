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

__attribute__((constructor)) static void begin(void) {
  const char *descriptors = getenv("MUSTER_BESIDE");
  char *rest;
  if (!descriptors || !is_engine()) return;
  kernel_begin((int)strtol(descriptors, &rest, 10));
  if (*rest == ':') {
    int ranges = (int)strtol(rest + 1, &rest, 10);
    pages_begin(ranges, (int)strtol(rest + 1, NULL, 10));
  }
  /* Nor are the programs that CRIU starts. */
  unsetenv("LD_PRELOAD");
  unsetenv("MUSTER_BESIDE");
}
