/* The `muster` command. `muster run` (also as mpiexec, mpirun) with a control plane at hand is done here, since a Node process
 * takes longer to start than most small jobs take to run; everything else is the command-line program in Node, also as a plugin
 * of kubectl. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "front.h"
#include "node.h"
#include "packet.h"

enum { LONGEST_PATH = 4096, BUSY_TRIES = 500, BUSY_WAIT_MS = 10 };

static const char *name_of(const char *program) {
  const char *slash = strrchr(program, '/');
  return slash ? slash + 1 : program;
}

static bool is_launcher(const char *program) {
  const char *name = name_of(program);
  return strcmp(name, "mpiexec") == 0 || strcmp(name, "mpirun") == 0;
}

static bool socket_path(char *path, size_t size) {
  const char *state = getenv("MUSTER_HOME"), *home = getenv("HOME");
  int length = state && *state ? snprintf(path, size, "%s/run/front.sock", state)
               : home && *home ? snprintf(path, size, "%s/.muster/run/front.sock", home)
                               : -1;
  return length > 0 && (size_t)length < size;
}

int main(int argc, char **argv, char **envp) {
  bool launcher = argc > 0 && is_launcher(argv[0]);
  char **words = argv + 1;
  int count = argc > 0 ? argc - 1 : 0;
  if (argc > 0 && strcmp(name_of(argv[0]), "kubectl-muster") == 0) {
    /* kubectl's plugin speaks to the cluster of the kubeconfig, whatever runs on this machine. */
    setenv("MUSTER_AS_PLUGIN", "1", 1);
    return node_exec(count, words);
  }
  if (launcher) {
    /* argv[0] is ours to use: "mpiexec -n 4 a" is "run -n 4 a". */
    words = argv;
    words[0] = (char *)(uintptr_t) "run";
    count = argc;
  }
  static char path[LONGEST_PATH];
  if (count > 0 && strcmp(words[0], "run") == 0 && socket_path(path, sizeof path)) {
    int control = packet_connect(path);
    /* Many at once: its queue of connections is full for a moment. */
    for (int tries = 0; control == -EAGAIN && tries < BUSY_TRIES; tries++) {
      poll(NULL, 0, BUSY_WAIT_MS);
      control = packet_connect(path);
    }
    if (control >= 0) return front_run(path, control, count, words, envp);
  }
  return node_exec(count, words);
}
