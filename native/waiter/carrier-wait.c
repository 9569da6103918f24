/* carrier-wait: all that runs in a carrier Pod of the Pod's own. The agent of the node builds the sandbox in the Pod's root, network
 * and cgroup while this waits; when it ends, so does the Pod.
 *
 *   carrier-wait [WHAT-FOR]        waits; what for is for whoever reads a process list
 *   carrier-wait --install PATH    copies itself to PATH and ends: so it gets from its own image into one that knows nothing of it
 *
 * As pid 1 it is sent SIGTERM when the Pod is deleted, and stays: the grace period is what the ranks have to end in. SIGUSR1, which
 * the agent sends once nothing of the sandbox is left, ends it with 0.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(const char *what, const char *path) {
  fprintf(stderr, "carrier-wait: %s %s: %s\n", what, path, strerror(errno));
  return 1;
}

static int install(const char *path) {
  struct stat own;
  off_t at = 0;
  int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (from < 0 || fstat(from, &own) < 0) return fail("read", "/proc/self/exe");
  /* A Pod whose init container is run again finds what it wrote before. */
  if (unlink(path) < 0 && errno != ENOENT) return fail("replace", path);
  int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
  if (to < 0) return fail("create", path);
  while (at < own.st_size)
    if (sendfile(to, from, &at, (size_t)(own.st_size - at)) <= 0) return fail("write", path);
  if (fchmod(to, 0755) < 0 || close(to) < 0) return fail("write", path);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "--install") == 0) return install(argv[2]);
  sigset_t waited;
  int got = 0;
  sigfillset(&waited);
  sigprocmask(SIG_BLOCK, &waited, NULL);
  while (got != SIGUSR1) sigwait(&waited, &got);
  return 0;
}
