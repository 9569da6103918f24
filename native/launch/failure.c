/* See failure.h. */
#include "failure.h"

#include <errno.h>
#include <stdio.h>

int failed_with(struct failure *failure, const char *stage, const char *path, int error) {
  failure->stage = stage;
  failure->error = error;
  snprintf(failure->path, sizeof failure->path, "%s", path ? path : "");
  return -1;
}

int failed(struct failure *failure, const char *stage, const char *path) { return failed_with(failure, stage, path, errno); }
