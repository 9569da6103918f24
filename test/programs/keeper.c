/* Runs a command and sees to it that it ends in time and that nothing of it stays: whatever it started, however detached, becomes
 * a child of this process when its own parent ends (PR_SET_CHILD_SUBREAPER) and is killed after the command. Passes SIGINT, SIGHUP
 * and SIGTERM on. It knows nothing of tests.
 *
 * usage: keeper SECONDS COMMAND [ARGUMENT...]     0 seconds: no limit
 *
 * At the limit the command gets SIGTERM, 20 s later SIGKILL. Exits as the command did (128 + signal), with 124 after the limit.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GRACE_SECONDS = 20, SWEEP_SECONDS = 30 };

static time_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec;
}

static void tell(pid_t pid) {
  char path[64], name[64] = "";
  snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? 0 : read(fd, name, sizeof name - 1);
  if (fd >= 0) close(fd);
  if (length > 0) fprintf(stderr, "keeper: ended process %d, which was left behind: %.*s\n", (int)pid, (int)length - 1, name);
}

/* Kills every child there is now; a file of the kernel lists them. Zombies are only collected, by the caller. */
static void kill_children(int told) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
  FILE *list = fopen(path, "re");
  if (!list) return;
  int pid;
  while (fscanf(list, "%d", &pid) == 1) {
    siginfo_t ended = {0};
    if (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == pid) continue;
    if (!told) tell(pid);
    kill(pid, SIGKILL);
  }
  fclose(list);
}

/* The kernel hands over the children of what was killed, so this goes on until there are none. */
static void sweep(void) {
  const struct timespec pause = {0, 20 * 1000 * 1000};
  const time_t end = now() + SWEEP_SECONDS;
  for (int round = 0; now() < end; round++) {
    kill_children(round > 0);
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) continue;
    if (pid < 0 && errno == ECHILD) return;
    nanosleep(&pause, NULL);
  }
  fprintf(stderr, "keeper: some processes do not end\n");
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: keeper SECONDS COMMAND [ARGUMENT...]\n");
    return 2;
  }
  const long seconds = atol(argv[1]);
  static const int watched[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP};
  sigset_t set, before;
  sigemptyset(&set);
  for (size_t i = 0; i < sizeof watched / sizeof *watched; i++) sigaddset(&set, watched[i]);
  sigprocmask(SIG_BLOCK, &set, &before);
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) perror("keeper: PR_SET_CHILD_SUBREAPER");

  const pid_t command = fork();
  if (command < 0) {
    perror("keeper: fork");
    return 126;
  }
  if (command == 0) {
    sigprocmask(SIG_SETMASK, &before, NULL);
    execvp(argv[2], argv + 2);
    fprintf(stderr, "keeper: %s: %s\n", argv[2], strerror(errno));
    _exit(127);
  }

  time_t next = seconds > 0 ? now() + seconds : 0;
  int asked = 0, status = 0;
  for (;;) {
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0 && pid != command) continue;
    if (pid == command) break;
    const time_t left = next - now();
    if (next != 0 && left <= 0) {
      if (!asked) fprintf(stderr, "keeper: %s has run for %ld s, which is its limit\n", argv[2], seconds);
      kill(command, asked ? SIGKILL : SIGTERM);
      asked = 1;
      next = now() + GRACE_SECONDS;
      continue;
    }
    const struct timespec wait = {next != 0 ? left : 3600, 0};
    const int number = sigtimedwait(&set, NULL, &wait);
    if (number > 0 && number != SIGCHLD) {
      kill(command, number);
      if (next == 0 || next > now() + GRACE_SECONDS) next = now() + GRACE_SECONDS;
      asked = 1;
    }
  }
  sweep();
  if (asked) return 124;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
