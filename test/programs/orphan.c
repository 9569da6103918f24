/* Makes an orphan, as a daemon does: two forks and setsid between them, standard descriptors closed. The orphan sleeps
 * with all the signals ignored that can be, so only a kill of the whole sandbox ends it.
 *
 * usage: orphan TAG [SECONDS [stay]]      default 3600; TAG is an argument to find the orphan by in /proc/PID/cmdline
 *
 * The parent prints `orphan PID` (in its own pid namespace) and exits 0; with `stay` it sleeps as long as the orphan.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void sleep_on(long seconds) {
  struct timespec left = {seconds, 0};
  while (nanosleep(&left, &left) != 0) continue;
}

int main(int argc, char **argv) {
  long seconds = argc > 2 ? atol(argv[2]) : 3600;
  int stay = argc > 3 && !strcmp(argv[3], "stay"), channel[2];
  if (argc < 2 || seconds < 1 || pipe(channel) != 0) {
    fprintf(stderr, "usage: orphan TAG [SECONDS [stay]]\n");
    return 2;
  }
  pid_t first = fork();
  if (first < 0) return 3;
  if (first == 0) {
    setsid();
    pid_t second = fork();
    if (second < 0) _exit(3);
    if (second > 0) _exit(0);
    for (int number = 1; number < NSIG; number++) signal(number, SIG_IGN);
    pid_t own = getpid();
    if (write(channel[1], &own, sizeof own) != sizeof own) _exit(4);
    for (int fd = 0; fd < 1024; fd++) close(fd);
    sleep_on(seconds);
    _exit(0);
  }
  close(channel[1]);
  waitpid(first, NULL, 0);
  pid_t orphan;
  if (read(channel[0], &orphan, sizeof orphan) != sizeof orphan) return 4;
  printf("orphan %d\n", (int)orphan);
  fflush(stdout);
  if (stay) sleep_on(seconds);
  return 0;
}
