/* engine: puts the checkpoint engine where it has to run, and becomes it.
 *
 *   engine --init CRIU [--cgroup HIERARCHY:PATH [--cgroup-set FILE=VALUE]...]... [--bind ROOT:STAGE] [--keep-namespaces]
 *
 * It enters the host's mount and cgroup namespaces as launch does, makes and enters the cgroups asked for (one of its own for
 * a dump; for a restore the sandbox's, which the restored processes inherit), and runs `CRIU swrk 3`, descriptor 3 being the
 * socket of its RPC. With --bind it gets a mount namespace of its own first, where ROOT stands alone at STAGE: the root that a
 * sandbox is restored on. Nothing of it is left on the machine when it ends, however it ends, but for the cgroups.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
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

static int become_engine(int argc, char **argv, struct failure *failure) {
  if (options_parse(argc, argv, &options, failure) < 0) return -1;
  if (!options.keep_namespaces &&
      (enter_host("cgroup", CLONE_NEWCGROUP, failure) < 0 || enter_host("mnt", CLONE_NEWNS, failure) < 0))
    return -1;
  if (cgroups_make(&options, &cgroups, failure) < 0) return -1;
  if (cgroups_enter(&cgroups, &options, failure) < 0) return -1;
  if (options.mounts_count > 0 && stage_root(failure) < 0) return -1;
  const char *arguments[] = {"criu", "swrk", "3", NULL};
  const char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
  execve(options.init, (char *const *)arguments, (char *const *)environment);
  return failed(failure, "engine", options.init);
}

int main(int argc, char **argv) {
  struct failure failure = {0};
  become_engine(argc, argv, &failure);
  fprintf(stderr, "%s%s%s: %s\n", failure.stage, failure.path[0] ? " " : "", failure.path, strerror(failure.error));
  return 1;
}
