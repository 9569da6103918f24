/* See inject.h. */
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef __x86_64__
int inject_userfaultfd(pid_t pid) {
  (void)pid;
  return -ENOSYS;
}
#else

enum { USER_MODE_ONLY = 1, SYSCALL_STOP = SIGTRAP | 0x80, STOPPED_WITHIN_MS = 500, VDSO_BYTES = 16 << 10 };
#define EVENT_STOP ((PTRACE_EVENT_STOP << 8) | SIGTRAP)

/* How it was stopped; -errno when it is not soon, or has ended. */
static int wait_stop(pid_t pid) {
  struct timespec pause = {0, 200 * 1000};
  for (int i = 0; i < STOPPED_WITHIN_MS * 5; i++) {
    int status;
    pid_t found = waitpid(pid, &status, __WALL | WNOHANG);
    if (found < 0 && errno != EINTR) return -errno;
    if (found == pid) return WIFSTOPPED(status) ? status >> 8 : -ESRCH;
    nanosleep(&pause, NULL);
  }
  return -ETIMEDOUT;
}

/* Until it stands still for us alone. Signals that come meanwhile go on to it. */
static int wait_event_stop(pid_t pid) {
  for (;;) {
    int how = wait_stop(pid);
    if (how < 0 || how == EVENT_STOP) return how < 0 ? how : 0;
    if (how >> 8 == PTRACE_EVENT_STOP) return -EBUSY; /* stopped by a signal */
    if (ptrace(PTRACE_CONT, pid, 0, how & 0x7f) < 0) return -errno;
  }
}

/* Where a system call is made: the vDSO has one in every process. 0: nowhere. */
static uint64_t find_syscall(pid_t pid) {
  char path[64], line[512];
  uint64_t start = 0, end = 0;
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  FILE *maps = fopen(path, "re");
  if (!maps) return 0;
  while (fgets(line, sizeof line, maps))
    if (strstr(line, "[vdso]") && sscanf(line, "%lx-%lx", &start, &end) == 2) break;
  fclose(maps);
  static uint8_t code[VDSO_BYTES];
  if (start == 0) return 0;
  struct iovec to = {code, sizeof code}, from = {(void *)start, end - start < sizeof code ? end - start : sizeof code};
  ssize_t count = process_vm_readv(pid, &to, 1, &from, 1, 0);
  for (ssize_t i = 0; i + 1 < count; i++)
    if (code[i] == 0x0f && code[i + 1] == 0x05) return start + (uint64_t)i;
  return 0;
}

/* In a sequence that the kernel restarts when it is interrupted (rseq): not now. */
static bool is_in_sequence(pid_t pid) {
  struct __ptrace_rseq_configuration rseq;
  uint64_t sequence = 0;
  if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, pid, sizeof rseq, &rseq) <= 0 || rseq.rseq_abi_pointer == 0) return false;
  struct iovec to = {&sequence, sizeof sequence}, from = {(void *)(rseq.rseq_abi_pointer + 8), sizeof sequence};
  return process_vm_readv(pid, &to, 1, &from, 1, 0) == sizeof sequence && sequence != 0;
}

/* What the call gives, or -errno of ptrace's own in `failed`. Ends where the call has ended. */
static int64_t call(pid_t pid, const struct user_regs_struct *regs, uint64_t at, uint64_t number, uint64_t argument,
                    int *failed) {
  struct user_regs_struct now = *regs;
  now.rip = at;
  now.rax = number;
  now.rdi = argument;
  now.orig_rax = UINT64_MAX; /* no system call is to be made again */
  *failed = 0;
  if (ptrace(PTRACE_SETREGS, pid, 0, &now) < 0) return *failed = -errno;
  for (int stop = 0; stop < 2; stop++) {
    int how = ptrace(PTRACE_SYSCALL, pid, 0, 0) < 0 ? -errno : wait_stop(pid);
    if (how != SYSCALL_STOP) return *failed = how < 0 ? how : -EBUSY;
  }
  if (ptrace(PTRACE_GETREGS, pid, 0, &now) < 0) return *failed = -errno;
  return (int64_t)now.rax;
}

/* It stands still for us. Gives the descriptor, and leaves the process as it was. */
static int make(pid_t pid) {
  struct user_regs_struct regs;
  uint64_t mask, all = UINT64_MAX;
  uint64_t at = find_syscall(pid);
  if (at == 0) return -ENOSYS;
  if (is_in_sequence(pid)) return -EAGAIN;
  if (ptrace(PTRACE_GETREGS, pid, 0, &regs) < 0) return -errno;
  if (ptrace(PTRACE_GETSIGMASK, pid, sizeof mask, &mask) < 0) return -errno;
  if (ptrace(PTRACE_SETSIGMASK, pid, sizeof all, &all) < 0) return -errno;
  int failed, result = -ESRCH;
  int64_t fd = call(pid, &regs, at, SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | USER_MODE_ONLY, &failed);
  if (failed == 0) result = (int)fd;
  if (failed == 0 && fd >= 0) {
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int own = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, (int)fd, 0);
    result = own < 0 ? -errno : own;
    if (pidfd >= 0) close(pidfd);
    call(pid, &regs, at, SYS_close, (uint64_t)fd, &failed);
  }
  /* Once more within the kernel's own place for signals, from where it makes again what was interrupted. */
  if (failed == 0 && ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0 && ptrace(PTRACE_CONT, pid, 0, 0) == 0) wait_event_stop(pid);
  ptrace(PTRACE_SETREGS, pid, 0, &regs);
  ptrace(PTRACE_SETSIGMASK, pid, sizeof mask, &mask);
  return result;
}

int inject_userfaultfd(pid_t pid) {
  for (int attempt = 0;; attempt++) {
    if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD) < 0) return -errno;
    int result = ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0 ? -errno : wait_event_stop(pid);
    if (result == 0) result = make(pid);
    if (ptrace(PTRACE_DETACH, pid, 0, 0) < 0 && result >= 0) {
      close(result);
      return -errno;
    }
    if (result != -EAGAIN || attempt == 20) return result;
    struct timespec pause = {0, 1000 * 1000};
    nanosleep(&pause, NULL);
  }
}

#endif
