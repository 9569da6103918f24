/* Does not end when it is asked to: catches SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2, prints one line for
 * each (`got signal N`) and sleeps on. Only SIGKILL ends it, or its time.
 *
 * usage: stubborn [SECONDS]      default 3600. Prints `ready` once the signals are caught.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv) {
  long seconds = argc > 1 ? atol(argv[1]) : 3600;
  static const int caught[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = 0; i < sizeof caught / sizeof *caught; i++) sigaddset(&set, caught[i]);
  sigprocmask(SIG_BLOCK, &set, NULL);
  setvbuf(stdout, NULL, _IOLBF, 0);
  puts("ready");

  struct timespec now, end;
  clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_sec += seconds;
  for (;;) {
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec >= end.tv_sec) return 0;
    struct timespec left = {end.tv_sec - now.tv_sec, 0};
    int number = sigtimedwait(&set, NULL, &left);
    if (number > 0) printf("got signal %d\n", number);
  }
}
