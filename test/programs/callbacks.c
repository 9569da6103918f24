/* A program that takes part in its own checkpoints: says what it is told, counts, and refuses while a file is there.
 *   callbacks REFUSE_WHILE SECONDS
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../native/checkpoint/muster-checkpoint.h"

static int first(enum muster_checkpoint_event event, void *name) {
  static const char *words[] = {"", "before", "continue", "restart"};
  printf("%s %s\n", (const char *)name, words[event]);
  fflush(stdout);
  return 0;
}

static int second(enum muster_checkpoint_event event, void *path) {
  first(event, (void *)"second");
  return event == MUSTER_BEFORE_CHECKPOINT && access(path, F_OK) == 0 ? EBUSY : 0;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  if (muster_checkpoint_register(second, argv[1]) != 0 || muster_checkpoint_register(first, (void *)"first") != 0) return 3;
  puts("ready");
  fflush(stdout);
  struct timespec tick = {.tv_nsec = 10000000};
  for (int i = 0; i < atoi(argv[2]) * 100; i++) {
    muster_checkpoint_enter();
    nanosleep(&tick, NULL);
    muster_checkpoint_leave();
  }
  puts("over");
  return 0;
}
