/* See profile.h. A process that is looked at stands still for a moment; should launch die then, the kernel lets it go on. */
#include "profile.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILTERS_MAX = 8 };

static struct sock_filter instructions[FILTERS_MAX][BPF_MAXINSNS];
static unsigned short lengths[FILTERS_MAX];
static int count;

/* In our pid namespace; -1 when it has ended. */
static pid_t pid_of(int pidfd) {
  char path[64], line[128];
  pid_t pid = -1;
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
  FILE *file = fopen(path, "re");
  if (!file) return -1;
  while (fgets(line, sizeof line, file))
    if (sscanf(line, "Pid: %d", &pid) == 1) break;
  fclose(file);
  return pid;
}

static int read_filters(pid_t pid) {
  for (count = 0; count < FILTERS_MAX; count++) {
    long length = syscall(SYS_ptrace, PTRACE_SECCOMP_GET_FILTER, pid, (long)count, instructions[count]);
    if (length < 0) return errno == ENOENT && count > 0 ? 0 : -1;
    lengths[count] = (unsigned short)length;
  }
  errno = E2BIG;
  return -1;
}

int profile_read(int carrier, struct failure *failure) {
  pid_t pid = pid_of(carrier);
  if (pid <= 0) return failed_with(failure, "profile", "the carrier Pod has ended", ESRCH);
  if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0) return failed(failure, "profile", NULL);
  int error = 0;
  /* A pid alone names nobody: held by ptrace it is the one that it was, or another's. */
  if (pid_of(carrier) != pid) error = ESRCH;
  else if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0 || waitpid(pid, NULL, __WALL) < 0 || read_filters(pid) < 0)
    error = errno;
  ptrace(PTRACE_DETACH, pid, NULL, NULL);
  if (error == EINVAL || error == ENOENT)
    return failed_with(failure, "profile", "the carrier Pod has a seccomp profile, and its container is under none", error);
  return error == 0 ? 0 : failed_with(failure, "profile", NULL, error);
}

int profile_enter(struct failure *failure) {
  for (int i = 0; i < count; i++) {
    const struct sock_fprog filter = {.len = lengths[i], .filter = instructions[i]};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter) < 0)
      return failed(failure, "profile", NULL);
  }
  return 0;
}
