/* launch: builds one sandbox and leaves rank-init running in it as pid 1 of its own pid, ipc, mount and uts namespaces.
 *
 *   launch --init PATH [--slots N] [--hostname H] [--root DIR] [--net host|new|PATH]
 *          [--cgroup HIERARCHY:PATH [--cgroup-set FILE=VALUE]...]... [--bind SRC:DST[:ro]]... [--tmpfs DST[:OPTIONS]]...
 *          [--carrier PIDFD [--carrier-profile] [--carrier-bind SRC:DST[:ro]]...] [--file DST:FD]... [--device /dev/X]... [--user-namespace UIDMAP:GIDMAP] [--keep-namespaces]
 *
 * One line of JSON on stdout: {"pid":N,"pidns":INODE,"startTime":TICKS} once rank-init is ready (and "skipped", the generated
 * files that the root has no place for), or {"error","stage","errno","path"} with exit status 1, and then nothing is left
 * behind. It enters the host's mount and cgroup namespaces (those of the machine's pid 1) first, unless told to keep its own.
 * With --carrier the root, the sources of --carrier-bind and, unless --net says otherwise, the network are those of that process;
 * what it runs then gains no rights by any file of it, and is refused the system calls of filter.h; with --carrier-profile it is
 * under the seccomp profile of that process besides.
 * Killed at any instruction, it leaves at most empty cgroups: pid 1 dies with it until somebody was told of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroups.h"
#include "filter.h"
#include "mounts.h"
#include "options.h"
#include "profile.h"

static struct options options;
static struct cgroups cgroups;

/* --- what is printed --- */

static void print_string(const char *text) {
  putchar('"');
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') printf("\\%c", *text);
    else if ((unsigned char)*text < 0x20) printf("\\u%04x", *text);
    else putchar(*text);
  }
  putchar('"');
}

static void print_failure(const struct failure *failure) {
  const char *name = strerrorname_np(failure->error);
  char text[sizeof failure->path + 128];
  snprintf(text, sizeof text, "MUSTER_LAUNCH_FAILED: %s%s%s: %s", failure->stage, failure->path[0] ? " " : "", failure->path,
           strerror(failure->error));
  printf("{\"error\":");
  print_string(text);
  printf(",\"stage\":");
  print_string(failure->stage);
  printf(",\"errno\":");
  print_string(name ? name : "0");
  printf(",\"path\":");
  print_string(failure->path);
  printf("}\n");
  fflush(stdout);
}

/* Field 22 of /proc/PID/stat; the name in field 2 may hold anything, so counting starts after its last parenthesis. */
static unsigned long long start_time(pid_t pid) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (length <= 0) return 0;
  text[length] = 0;
  const char *at = strrchr(text, ')');
  for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
  return at ? strtoull(at + 1, NULL, 10) : 0;
}

static int print_sandbox(pid_t pid, const char *skipped, struct failure *failure) {
  char path[64];
  struct stat namespace;
  snprintf(path, sizeof path, "/proc/%d/ns/pid", pid);
  if (stat(path, &namespace) < 0) return failed(failure, "report", path);
  printf("{\"pid\":%d,\"pidns\":%llu,\"startTime\":%llu", pid, (unsigned long long)namespace.st_ino, start_time(pid));
  if (skipped[0]) {
    printf(",\"skipped\":[");
    for (const char *from = skipped; *from;) {
      size_t length = strcspn(from, ",");
      printf("%s\"%.*s\"", from == skipped ? "" : ",", (int)length, from);
      from += length + (from[length] != 0);
    }
    printf("]");
  }
  printf("}\n");
  if (fflush(stdout) != 0) return failed(failure, "report", "stdout");
  return 0;
}

/* --- namespaces of the host --- */

static int enter_host(const char *name, int kind, struct failure *failure) {
  char own_path[64], host_path[64];
  struct stat own, host;
  snprintf(own_path, sizeof own_path, "/proc/self/ns/%s", name);
  snprintf(host_path, sizeof host_path, "/proc/1/ns/%s", name);
  if (stat(own_path, &own) < 0) return failed(failure, "host-namespace", own_path);
  if (stat(host_path, &host) < 0 || own.st_ino == host.st_ino) return 0; /* not ours to look at, or there already */
  int fd = open(host_path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, kind) < 0) return failed(failure, "host-namespace", host_path);
  close(fd);
  return 0;
}

static int enter_network(const char *path, struct failure *failure) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) return failed(failure, "network", path);
  close(fd);
  return 0;
}

static int raise_loopback(struct failure *failure) {
  struct ifreq request = {.ifr_name = "lo"};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0) return failed(failure, "network", "lo");
  request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
  if (ioctl(fd, SIOCSIFFLAGS, &request) < 0) return failed(failure, "network", "lo");
  close(fd);
  return 0;
}

/* --- user namespace --- */

static int write_file(pid_t pid, const char *name, const char *text, struct failure *failure) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) return failed(failure, "user-namespace", path);
  close(fd);
  return 0;
}

static int write_maps(pid_t pid, struct failure *failure) {
  char text[64];
  if (write_file(pid, "setgroups", "deny", failure) < 0) return -1;
  snprintf(text, sizeof text, "%u %u %u\n", options.uids.inside, options.uids.outside, options.uids.count);
  if (write_file(pid, "uid_map", text, failure) < 0) return -1;
  snprintf(text, sizeof text, "%u %u %u\n", options.gids.inside, options.gids.outside, options.gids.count);
  return write_file(pid, "gid_map", text, failure);
}

/* A uid other than 0 loses its capabilities at exec, and with them the right to empty the bounding set: done before. */
static void empty_bounding_set(void) {
  for (unsigned long capability = 0; capability < 64; capability++)
    if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1) prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
}

/* --- pid 1 until it is rank-init --- */

static int become_init(int ready, int init, struct failure *failure) {
  static char skipped[sizeof(((struct ready_report *)0)->path)];
  char byte;
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return failed(failure, "death-signal", NULL);
  /* Launch sends one byte when the maps are written; its end here means it died before the line above. */
  if (recv(ready, &byte, 1, 0) != 1) _exit(1);
  if (cgroups_enter(&cgroups, &options, failure) < 0) return -1;
  if (mounts_build(&options, init, skipped, sizeof skipped, failure) < 0) return -1;
  if (options.hostname && sethostname(options.hostname, strlen(options.hostname)) < 0)
    return failed(failure, "hostname", options.hostname);
  if (strcmp(options.network, "new") == 0 && raise_loopback(failure) < 0) return -1;
  if (options.user_namespace && options.uids.inside != 0) empty_bounding_set();
  if (options.carrier >= 0) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return failed(failure, "carrier", "privileges");
    if (filter_enter(failure) < 0) return -1;
  }
  if (setsid() < 0) return failed(failure, "setsid", NULL);
  if (skipped[0]) {
    struct ready_report note = {.magic = READY_MAGIC, .error = -1, .stage = "skipped"};
    memcpy(note.path, skipped, sizeof note.path);
    if (send(ready, &note, sizeof note, MSG_NOSIGNAL) < 0) _exit(1);
  }
  int null = open("/dev/null", O_RDWR | O_NOCTTY);
  if (null < 0) return failed(failure, "stdio", "/dev/null");
  for (int fd = 0; fd <= 2; fd++)
    if (dup2(null, fd) < 0) return failed(failure, "stdio", "/dev/null");
  /* A copy that closes at exec tells of its failure; READY_FD itself goes on. */
  int copy = fcntl(ready, F_DUPFD_CLOEXEC, READY_FD + 1);
  if (copy < 0 || dup2(copy, READY_FD) < 0) return failed(failure, "stdio", NULL);
  if (close_range(READY_FD + 1, ~0u, 0) < 0) return failed(failure, "stdio", NULL);

  const char *undumpable = options.user_namespace ? "--undumpable" : NULL;
  const char *arguments[] = {"rank-init", "--ready", "--slots", options.slots, undumpable, NULL};
  const char *environment[] = {NULL};
  if (profile_enter(failure) < 0) return -1;
  execve(INIT_PATH, (char *const *)arguments, (char *const *)environment);
  return failed(failure, "init", INIT_PATH);
}

static _Noreturn void run_child(int ready, int init) {
  struct failure failure = {0};
  become_init(ready, init, &failure);
  struct ready_report report = {.magic = READY_MAGIC, .error = failure.error};
  snprintf(report.stage, sizeof report.stage, "%s", failure.stage);
  snprintf(report.path, sizeof report.path, "%s", failure.path);
  /* The socket stands at its old number or, once the others are closed, at READY_FD. */
  if (send(ready, &report, sizeof report, MSG_NOSIGNAL) < 0) send(READY_FD, &report, sizeof report, MSG_NOSIGNAL);
  _exit(1);
}

/* --- launch itself --- */

static int await_ready(int socket, char *skipped, struct failure *failure) {
  for (;;) {
    static struct ready_report report;
    static char stage[sizeof report.stage];
    ssize_t got = recv(socket, &report, sizeof report, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got != sizeof report || report.magic != READY_MAGIC) return failed_with(failure, "init", "rank-init died", ECHILD);
    if (report.error == 0) return 0;
    if (report.error == -1) {
      memcpy(skipped, report.path, sizeof report.path);
      continue;
    }
    memcpy(stage, report.stage, sizeof stage);
    return failed_with(failure, stage, report.path, report.error);
  }
}

static int launch(struct failure *failure) {
  static char skipped[sizeof(((struct ready_report *)0)->path)];
  const char go[2] = {READY_GO, READY_GO};
  int init = open(options.init, O_RDONLY | O_CLOEXEC);
  if (init < 0) return failed(failure, "init", options.init);
  if (options.carrier_profile && profile_read(options.carrier, failure) < 0) return -1;
  bool own_network = strcmp(options.network, "new") == 0;
  if (!own_network && strcmp(options.network, "host") != 0 && enter_network(options.network, failure) < 0) return -1;
  if (!options.keep_namespaces && !options.user_namespace) {
    if (enter_host("cgroup", CLONE_NEWCGROUP, failure) < 0 || enter_host("mnt", CLONE_NEWNS, failure) < 0) return -1;
  }
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return failed(failure, "socketpair", NULL);
  if (cgroups_make(&options, &cgroups, failure) < 0) return -1;

  unsigned long flags = CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNS | CLONE_NEWUTS;
  if (own_network) flags |= CLONE_NEWNET;
  if (options.user_namespace) flags |= CLONE_NEWUSER;
  pid_t pid = cgroups_clone(&cgroups, flags);
  if (pid < 0) return failed(failure, "clone", NULL);
  if (pid == 0) {
    close(ends[0]);
    run_child(ends[1], init);
  }
  close(ends[1]);
  int result = options.user_namespace ? write_maps(pid, failure) : 0;
  if (result == 0 && send(ends[0], go, 1, MSG_NOSIGNAL) < 0) result = failed(failure, "init", "pid 1 died");
  if (result == 0) result = await_ready(ends[0], skipped, failure);
  if (result == 0) result = print_sandbox(pid, skipped, failure);
  if (result == 0 && send(ends[0], go, 1, MSG_NOSIGNAL) < 0) result = failed(failure, "init", "rank-init died");
  if (result < 0) {
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
  }
  return result;
}

int main(int argc, char **argv) {
  struct failure failure = {0};
  signal(SIGPIPE, SIG_IGN);
  if (options_parse(argc, argv, &options, &failure) == 0 && launch(&failure) == 0) return 0;
  cgroups_remove(&cgroups);
  print_failure(&failure);
  return 1;
}
