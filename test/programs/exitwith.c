/* Ends in a given way, without MPI: with an exit code or by a signal, after some time, in one rank or in all.
 *
 * usage: exitwith [--rank R] [--after-ms N] (code N | signal N)
 *
 * With --rank, only that rank (PMI_RANK) ends so; the others wait until they are killed. Core dumps are off, and the
 * signal's default action is restored first, so that an inherited SIG_IGN cannot save the process.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
  long rank = -1, after_ms = 0;
  int at = 1;
  for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
    if (!strcmp(argv[at], "--rank")) rank = atol(argv[at + 1]);
    else if (!strcmp(argv[at], "--after-ms")) after_ms = atol(argv[at + 1]);
    else break;
  }
  int is_code = at + 2 == argc && !strcmp(argv[at], "code"), is_signal = at + 2 == argc && !strcmp(argv[at], "signal");
  if (!is_code && !is_signal) {
    fprintf(stderr, "usage: exitwith [--rank R] [--after-ms N] (code N | signal N)\n");
    return 2;
  }
  int number = atoi(argv[at + 1]);
  const char *own = getenv("PMI_RANK");
  if (rank >= 0 && (!own || atol(own) != rank))
    for (;;) pause();
  if (after_ms) nanosleep(&(struct timespec){after_ms / 1000, after_ms % 1000 * 1000000}, NULL);
  if (is_code) _exit(number);

  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  sigset_t none;
  sigemptyset(&none);
  signal(number, SIG_DFL);
  sigprocmask(SIG_SETMASK, &none, NULL);
  raise(number);
  fprintf(stderr, "exitwith: signal %d does not end a process\n", number);
  return 3;
}
