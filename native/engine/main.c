/* engine: puts the checkpoint engine where it has to run, and becomes it.
 *
 *   engine [--guard CGROUP [--go SOCKET]] [--beside LIBRARY:KERNEL[:RANGES:FOUND]] --init CRIU [--cgroup HIERARCHY:PATH [--cgroup-set FILE=VALUE]...]... [--bind ROOT:STAGE]
 *          [--carrier PIDFD [--carrier-bind SRC:STAGE]...] [--keep-namespaces]
 *
 * It enters the host's mount and cgroup namespaces as launch does, makes and enters the cgroups asked for (one of its own for
 * a dump; for a restore the sandbox's, which the restored processes inherit), and runs `CRIU swrk 3`, descriptor 3 being the
 * socket of its RPC. With --bind it gets a mount namespace of its own first, where ROOT stands alone at STAGE: the root that a
 * sandbox is restored on; with --carrier-bind it is a mount of that process's, which gives nobody rights by any file of it. With --guard it stays behind as CRIU's parent and keeps the processes of CGROUP, those that are
 * dumped, frozen when CRIU dies, and has read what CRIU will ask of their mappings (maps-ahead.c); with --go they are frozen only when there is
 * a byte to be read, which is answered by another once that is begun. With
 * --beside CRIU is started with that library and what it reads and writes (descriptors; see criu-beside). CRIU ignores SIGXFSZ. Nothing of it is left on the machine when it ends, however it ends, but for the cgroups.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../launch/cgroups.h"
#include "../launch/failure.h"
#include "../launch/options.h"
#include "maps-ahead.h"

static struct options options;
static struct cgroups cgroups;
static char preload[64], beside[64], maps[64];

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

/* Clones what is taken of the carrier's mounts, there, and comes back. */
static int open_carried(struct failure *failure) {
  int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  if (own < 0 || setns(options.carrier, CLONE_NEWNS) < 0) return failed(failure, "carrier", "mounts");
  for (int i = 0; i < options.mounts_count; i++) {
    struct mount *bind = &options.mounts[i];
    if (!bind->carried) continue;
    struct mount_attr disarmed = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    bind->descriptor = open_tree(AT_FDCWD, bind->source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (bind->descriptor < 0 || mount_setattr(bind->descriptor, "", AT_EMPTY_PATH, &disarmed, sizeof disarmed) < 0)
      return failed(failure, "carrier", bind->source);
  }
  if (setns(own, CLONE_NEWNS) < 0) return failed(failure, "carrier", "mounts");
  close(own);
  return close(options.carrier);
}

static int place(const struct mount *bind) {
  if (!bind->carried) return mount(bind->source, bind->target, NULL, MS_BIND, NULL);
  return move_mount(bind->descriptor, "", AT_FDCWD, bind->target, MOVE_MOUNT_F_EMPTY_PATH);
}

static int stage_root(struct failure *failure) {
  if (unshare(CLONE_NEWNS) < 0) return failed(failure, "mount-namespace", NULL);
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return failed(failure, "private", "/");
  if (options.carrier >= 0 && open_carried(failure) < 0) return -1;
  for (int i = 0; i < options.mounts_count; i++) {
    const struct mount *bind = &options.mounts[i];
    if (bind->kind != MOUNT_BIND) continue;
    if (place(bind) < 0) return failed(failure, "root", bind->source);
    if (mount(NULL, bind->target, NULL, MS_PRIVATE, NULL) < 0) return failed(failure, "root", bind->target);
  }
  return 0;
}

/* Goes on in a child that is born in its cgroup, or in this process where there is none of that kind. What is left behind holds nothing open
 * that would keep others from seeing the child's end, and ends as it does. */
static void be_born_inside(void) {
  int status;
  if (cgroups.unified < 0) return;
  pid_t pid = cgroups_clone(&cgroups, 0);
  if (pid < 0) return; /* it enters them as it is */
  if (pid == 0) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() == 1) _exit(1);
    return;
  }
  close_range(3, ~0U, 0);
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

static int become_engine(struct failure *failure) {
  if (!options.keep_namespaces &&
      (enter_host("cgroup", CLONE_NEWCGROUP, failure) < 0 || enter_host("mnt", CLONE_NEWNS, failure) < 0))
    return -1;
  if (cgroups_make(&options, &cgroups, failure) < 0) return -1;
  be_born_inside();
  if (cgroups_enter(&cgroups, &options, failure) < 0) return -1;
  if (options.mounts_count > 0 && stage_root(failure) < 0) return -1;
  /* A limit on its files makes it give up by itself, and tidy up: a SIGKILL would leave the ranks half attached. */
  if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR) return failed(failure, "signal", NULL);
  const char *arguments[] = {"criu", "swrk", "3", NULL};
  const char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", preload, beside, maps, NULL};
  if (!maps[0]) environment[3] = NULL;
  if (!preload[0]) environment[1] = NULL;
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

static pid_t *guarded;
static int guarded_count;

/* Who is in a cgroup that is frozen: nobody can come or go. */
static int read_guarded(const char *directory, struct failure *failure) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/cgroup.procs", directory);
  FILE *file = fopen(path, "re");
  if (!file) return failed(failure, "guard", path);
  int pid;
  while (fscanf(file, "%d", &pid) == 1) {
    if (guarded_count % 64 == 0) guarded = realloc(guarded, sizeof *guarded * (size_t)(guarded_count + 64));
    if (!guarded) break;
    guarded[guarded_count++] = pid;
  }
  fclose(file);
  return guarded ? 0 : failed_with(failure, "guard", path, ESRCH);
}

static void signal_guarded(int signal) {
  for (int i = 0; i < guarded_count; i++) kill(guarded[i], signal);
}

struct freezer {
  int fd;
  const char *frozen; /* what its file says and is told; nothing else that it says begins like this */
};

/* Of version 2 of control groups, or of version 1: FREEZING is on its way, and THAWED is not. */
static int open_freezer(const char *directory, struct freezer *freezer, struct failure *failure) {
  static const struct { const char *file, *frozen; } kinds[] = {{"cgroup.freeze", "1"}, {"freezer.state", "FROZEN"}};
  char path[PATH_MAX];
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    snprintf(path, sizeof path, "%s/%s", directory, kinds[i].file);
    *freezer = (struct freezer){.fd = open(path, O_RDWR | O_CLOEXEC), .frozen = kinds[i].frozen};
    if (freezer->fd >= 0) return 0;
  }
  return failed(failure, "guard", path);
}

/* Called when CRIU has come to its end, or is coming to it. By itself it leaves them frozen, as they were before. Freezing may
 * have to wait for whoever else changes cgroups at the moment, a signal does not. */
static int keep_frozen(const struct freezer *freezer) {
  char state = 0;
  if (pread(freezer->fd, &state, 1, 0) == 1 && state == freezer->frozen[0]) return 0;
  signal_guarded(SIGSTOP);
  ssize_t length = (ssize_t)strlen(freezer->frozen);
  int result = write(freezer->fd, freezer->frozen, (size_t)length) == length ? 0 : -1;
  signal_guarded(SIGCONT); /* takes effect once they are thawed */
  return result;
}

/* Of the files of a process that dies the kernel lets go of that with the highest number first, well before the sockets by
 * which code of CRIU's within the ranks hears of its end. */
static void hold_last(int fd) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur > INT_MAX) return;
  if (fcntl(fd, F_DUPFD, (int)files.rlim_cur - 1) >= 0) close(fd);
}

/* Not before they are frozen: until then some may come and go. False: nobody is to be dumped. */
static bool wait_for_go(int go) {
  char byte;
  ssize_t count;
  do count = read(go, &byte, 1);
  while (count < 0 && errno == EINTR);
  return count == 1;
}

static void close_others(int most, const int *kept, size_t count) {
  for (int fd = 3; fd < most; fd++) {
    bool is_kept = false;
    for (size_t i = 0; i < count; i++) is_kept = is_kept || kept[i] == fd;
    if (!is_kept) close(fd);
  }
}

static void keep_on_first(void) {
  const struct sched_param first = {.sched_priority = 1};
  sched_setscheduler(0, SCHED_FIFO, &first);
  mlockall(MCL_CURRENT);
}

/* The kernel closes the files of a process that dies before it lets go of those it traces. So the end of a pipe that CRIU
 * holds tells of its death just in time to stop them where they are: with connections in repair mode, until the agent has
 * mended them. */
static int guard(const char *directory, int go) {
  struct failure failure = {0};
  struct freezer freezer;
  struct maps_files ahead = {-1, -1, -1};
  int alive[2], status;
  bool has_maps = preload[0] && maps_open(&ahead);
  if (has_maps) snprintf(maps, sizeof maps, "MUSTER_MAPS=%d:%d", ahead.file, ahead.told);
  if (pipe(alive) < 0) return complain((failed(&failure, "pipe", NULL), &failure));
  if (go < 0 && read_guarded(directory, &failure) < 0) return complain(&failure);
  if (open_freezer(directory, &freezer, &failure) < 0) return complain(&failure);
  pid_t pid = fork();
  if (pid < 0) return complain((failed(&failure, "fork", NULL), &failure));
  if (pid == 0) {
    close(alive[0]);
    if (go >= 0) close(go);
    if (has_maps) close(ahead.teller);
    hold_last(alive[1]);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() == 1) _exit(1);
    _exit(run_engine());
  }
  close(alive[1]);
  const int kept[] = {alive[0], freezer.fd, go, ahead.file, ahead.teller};
  close_others(freezer.fd + 1, kept, sizeof kept / sizeof *kept);
  bool goes = go < 0 || wait_for_go(go);
  bool late = go >= 0 && goes && read_guarded(directory, &failure) < 0;
  if (late) {
    complain(&failure);
    kill(pid, SIGKILL);
  } else if (goes) {
    if (has_maps) maps_begin(&ahead, guarded, guarded_count);
    keep_on_first();
    if (go >= 0 && write(go, "", 1) != 1) goes = false;
  }
  char byte;
  while (read(alive[0], &byte, 1) < 0 && errno == EINTR) continue;
  if (guarded_count > 0) late = keep_frozen(&freezer) < 0;
  maps_end();
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  return late || !WIFEXITED(status) ? 1 : WEXITSTATUS(status);
}

static bool parse_beside(const char *text) {
  char *rest;
  unsigned long library = strtoul(text, &rest, 10);
  if (*rest != ':' || strspn(rest, "0123456789:") != strlen(rest)) return false;
  snprintf(preload, sizeof preload, "LD_PRELOAD=/proc/self/fd/%lu", library);
  return (size_t)snprintf(beside, sizeof beside, "MUSTER_BESIDE=%s", rest + 1) < sizeof beside;
}

int main(int argc, char **argv) {
  struct failure failure = {0};
  const char *cgroup = NULL;
  int go = -1;
  if (argc > 2 && strcmp(argv[1], "--guard") == 0) {
    cgroup = argv[2];
    argc -= 2;
    argv += 2;
  }
  if (cgroup && argc > 2 && strcmp(argv[1], "--go") == 0) {
    go = atoi(argv[2]);
    argc -= 2;
    argv += 2;
  }
  if (argc > 2 && strcmp(argv[1], "--beside") == 0) {
    if (!parse_beside(argv[2])) return complain((failed_with(&failure, "arguments", argv[2], EINVAL), &failure));
    argc -= 2;
    argv += 2;
  }
  if (options_parse(argc, argv, &options, &failure) < 0) return complain(&failure);
  return cgroup ? guard(cgroup, go) : run_engine();
}
