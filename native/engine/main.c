/* engine: puts the checkpoint engine where it has to run, and becomes it.
 *
 *   engine [--guard FREEZER] --init CRIU [--cgroup HIERARCHY:PATH [--cgroup-set FILE=VALUE]...]... [--bind ROOT:STAGE] [--keep-namespaces]
 *
 * It enters the host's mount and cgroup namespaces as launch does, makes and enters the cgroups asked for (one of its own for
 * a dump; for a restore the sandbox's, which the restored processes inherit), and runs `CRIU swrk 3`, descriptor 3 being the
 * socket of its RPC. With --bind it gets a mount namespace of its own first, where ROOT stands alone at STAGE: the root that a
 * sandbox is restored on. With --guard it stays behind as CRIU's parent and writes 1 to FREEZER, the cgroup.freeze of the
 * sandbox that is dumped, when CRIU dies. CRIU ignores SIGXFSZ. Nothing of it is left on the machine when it ends, however it ends, but for the cgroups.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../launch/cgroups.h"
#include "../launch/failure.h"
#include "../launch/options.h"

static struct options options;
static struct cgroups cgroups;

static int enter_host(const char *name, int kind, struct failure *failure) {
  char own_path[64], host_path[64];
  struct stat own, host;
  snprintf(own_path, sizeof own_path, "/proc/self/ns/%s", name);
  snprintf(host_path, sizeof host_path, "/proc/1/ns/%s", name);
  if (stat(own_path, &own) < 0) return failed(failure, "host-namespace", own_path);
  if (stat(host_path, &host) < 0 || own.st_ino == host.st_ino) return 0;
  int fd = open(host_path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, kind) < 0) return failed(failure, "host-namespace", host_path);
  close(fd);
  return 0;
}

static int stage_root(struct failure *failure) {
  if (unshare(CLONE_NEWNS) < 0) return failed(failure, "mount-namespace", NULL);
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return failed(failure, "private", "/");
  for (int i = 0; i < options.mounts_count; i++) {
    const struct mount *bind = &options.mounts[i];
    if (bind->kind != MOUNT_BIND) continue;
    if (mount(bind->source, bind->target, NULL, MS_BIND, NULL) < 0) return failed(failure, "root", bind->source);
    if (mount(NULL, bind->target, NULL, MS_PRIVATE, NULL) < 0) return failed(failure, "root", bind->target);
  }
  return 0;
}

static int become_engine(struct failure *failure) {
  if (!options.keep_namespaces &&
      (enter_host("cgroup", CLONE_NEWCGROUP, failure) < 0 || enter_host("mnt", CLONE_NEWNS, failure) < 0))
    return -1;
  if (cgroups_make(&options, &cgroups, failure) < 0) return -1;
  if (cgroups_enter(&cgroups, &options, failure) < 0) return -1;
  if (options.mounts_count > 0 && stage_root(failure) < 0) return -1;
  /* A limit on its files makes it give up by itself, and tidy up: a SIGKILL would leave the ranks half attached. */
  if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR) return failed(failure, "signal", NULL);
  const char *arguments[] = {"criu", "swrk", "3", NULL};
  const char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
  execve(options.init, (char *const *)arguments, (char *const *)environment);
  return failed(failure, "engine", options.init);
}

static int complain(const struct failure *failure) {
  fprintf(stderr, "%s%s%s: %s\n", failure->stage, failure->path[0] ? " " : "", failure->path, strerror(failure->error));
  return 1;
}

static int run_engine(void) {
  struct failure failure = {0};
  become_engine(&failure);
  return complain(&failure);
}

/* The kernel closes the files of a process that dies before it lets go of those it traces. So the end of a pipe that CRIU
 * holds tells of its death just in time to freeze them where they are: with connections in repair mode, until the agent has
 * mended them. When CRIU ended by itself it has let them go already, and frozen they stay as the agent left them. */
static int guard(const char *freezer) {
  struct failure failure = {0};
  int alive[2], status;
  if (pipe(alive) < 0) return complain((failed(&failure, "pipe", NULL), &failure));
  int frozen = open(freezer, O_WRONLY | O_CLOEXEC);
  if (frozen < 0) return complain((failed(&failure, "guard", freezer), &failure));
  pid_t pid = fork();
  if (pid < 0) return complain((failed(&failure, "fork", NULL), &failure));
  if (pid == 0) {
    close(alive[0]);
    close(frozen);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() == 1) _exit(1);
    _exit(run_engine());
  }
  close(alive[1]);
  for (int fd = 3; fd < alive[0]; fd++) close(fd);
  const struct sched_param first = {.sched_priority = 1};
  sched_setscheduler(0, SCHED_FIFO, &first);
  char byte;
  while (read(alive[0], &byte, 1) < 0 && errno == EINTR) continue;
  bool late = write(frozen, "1", 1) < 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  return late || !WIFEXITED(status) ? 1 : WEXITSTATUS(status);
}

int main(int argc, char **argv) {
  struct failure failure = {0};
  const char *freezer = NULL;
  if (argc > 2 && strcmp(argv[1], "--guard") == 0) {
    freezer = argv[2];
    argc -= 2;
    argv += 2;
  }
  if (options_parse(argc, argv, &options, &failure) < 0) return complain(&failure);
  return freezer ? guard(freezer) : run_engine();
}
