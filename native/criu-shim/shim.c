/* Preloaded into CRIU, and only there, where root lacks CAP_SYS_RESOURCE (in many containers and virtual machines): the
 * kernel then refuses prlimit(2) on processes of another uid, even for reading, and CRIU cannot dump them. The same
 * figures stand in /proc/PID/limits, which root may read; this library answers from there, when the kernel said EPERM
 * and nothing was to be set. It changes no limit and touches no other call.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const names[] = {
    [RLIMIT_CPU] = "Max cpu time",
    [RLIMIT_FSIZE] = "Max file size",
    [RLIMIT_DATA] = "Max data size",
    [RLIMIT_STACK] = "Max stack size",
    [RLIMIT_CORE] = "Max core file size",
    [RLIMIT_RSS] = "Max resident set",
    [RLIMIT_NPROC] = "Max processes",
    [RLIMIT_NOFILE] = "Max open files",
    [RLIMIT_MEMLOCK] = "Max locked memory",
    [RLIMIT_AS] = "Max address space",
    [RLIMIT_LOCKS] = "Max file locks",
    [RLIMIT_SIGPENDING] = "Max pending signals",
    [RLIMIT_MSGQUEUE] = "Max msgqueue size",
    [RLIMIT_NICE] = "Max nice priority",
    [RLIMIT_RTPRIO] = "Max realtime priority",
    [RLIMIT_RTTIME] = "Max realtime timeout",
};

struct limit {
  unsigned long long current, maximum;
};

/* One figure of a line of the table, `unlimited` or a number; moves on behind it. */
static int figure(char **at, unsigned long long *value) {
  char *end;
  *at += strspn(*at, " ");
  if (strncmp(*at, "unlimited", 9) == 0) {
    *value = ~0ull;
    *at += 9;
    return 0;
  }
  *value = strtoull(*at, &end, 10);
  if (end == *at) return -1;
  *at = end;
  return 0;
}

/* 0, or -1 when the process is gone or its table does not name the resource. */
static int read_limit(long pid, long resource, struct limit *limit) {
  char path[64], text[8192];
  snprintf(path, sizeof path, "/proc/%ld/limits", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t length = read(fd, text, sizeof text - 1); /* the kernel writes the whole table at once */
  close(fd);
  if (length <= 0) return -1;
  text[length] = 0;
  char *line = strstr(text, names[resource]);
  if (!line || (line != text && line[-1] != '\n')) return -1;
  line += strlen(names[resource]);
  return figure(&line, &limit->current) || figure(&line, &limit->maximum) ? -1 : 0;
}

/* Called after prlimit failed; `told` is where the caller wants the old limit. True when it was answered here. */
static int answered(long pid, long resource, const void *wanted, void *told) {
  if (errno != EPERM || wanted || !told || pid <= 0) return 0;
  if (resource < 0 || resource >= (long)(sizeof names / sizeof *names) || !names[resource]) return 0;
  struct limit limit;
  if (read_limit(pid, resource, &limit) != 0) {
    errno = EPERM;
    return 0;
  }
  memcpy(told, &limit, sizeof limit); /* struct rlimit64 has this layout on every 64-bit machine */
  return 1;
}

static long (*real_syscall)(long, ...);

__attribute__((constructor)) static void find_real(void) { *(void **)&real_syscall = dlsym(RTLD_NEXT, "syscall"); }

/* CRIU calls prlimit64 by its number. All six arguments are passed on whatever the call takes: that is what libc's own does. */
long syscall(long number, ...) {
  long a[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  if (!real_syscall) find_real();
  long result = real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  if (result == -1 && number == SYS_prlimit64 && answered(a[0], a[1], (void *)a[2], (void *)a[3])) return 0;
  return result;
}
