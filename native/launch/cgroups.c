/* See cgroups.h. */
#include "cgroups.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static int write_text(int directory, const char *file, const char *text) {
  int fd = openat(directory, file, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t written = write(fd, text, strlen(text));
  int error = errno;
  close(fd);
  errno = error;
  return written < 0 ? -1 : 0;
}

/* Copies a file of the parent that is empty in a new v1 cpuset, without which nothing could enter it. */
static void inherit(int directory, const char *file) {
  char parent[64], text[4096];
  snprintf(parent, sizeof parent, "../%s", file);
  int own = openat(directory, file, O_RDONLY | O_CLOEXEC);
  if (own < 0) return;
  ssize_t length = read(own, text, sizeof text - 1);
  close(own);
  if (length > 1) return;
  int from = openat(directory, parent, O_RDONLY | O_CLOEXEC);
  if (from < 0) return;
  length = read(from, text, sizeof text - 1);
  close(from);
  if (length <= 0) return;
  text[length] = 0;
  write_text(directory, file, text);
}

/* Enables, in the directory `above`, the controllers that the settings of this cgroup need below it (v2). */
static void enable_controllers(int above, const struct cgroup *cgroup, const struct options *options) {
  for (int i = 0; i < cgroup->settings_count; i++) {
    const char *file = options->settings[cgroup->settings_first + i].file;
    char text[32];
    int length = (int)strcspn(file, ".");
    if (strncmp(file, "cgroup.", 7) == 0 || length > 20) continue;
    snprintf(text, sizeof text, "+%.*s", length, file);
    write_text(above, "cgroup.subtree_control", text); /* what is missing shows when the setting is written */
  }
}

static int make_one(const struct options *options, const struct cgroup *cgroup, struct cgroups *cgroups,
                    struct failure *failure) {
  char path[PATH_BYTES], names[PATH_BYTES];
  struct statfs type;
  snprintf(path, sizeof path, "%s", cgroup->hierarchy);
  snprintf(names, sizeof names, "%s", cgroup->path);
  int at = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (at < 0 || fstatfs(at, &type) < 0) return failed(failure, "cgroup", path);
  bool unified = type.f_type == CGROUP2_SUPER_MAGIC;

  char *rest = names;
  for (char *name; (name = strtok_r(rest, "/", &rest));) {
    size_t length = strlen(path);
    snprintf(path + length, sizeof path - length, "/%s", name);
    if (unified) enable_controllers(at, cgroup, options);
    bool made = mkdirat(at, name, 0755) == 0;
    if (!made && errno != EEXIST) {
      failed(failure, "cgroup", path);
      close(at);
      return -1;
    }
    if (made && cgroups->made_count < (int)(sizeof cgroups->made / sizeof *cgroups->made))
      cgroups->made[cgroups->made_count++] = strdup(path);
    int next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (next < 0) failed(failure, "cgroup", path);
    close(at);
    if (next < 0) return -1;
    at = next;
    if (made && !unified) {
      inherit(at, "cpuset.cpus");
      inherit(at, "cpuset.mems");
    }
  }
  for (int i = 0; i < cgroup->settings_count; i++) {
    const struct setting *setting = &options->settings[cgroup->settings_first + i];
    if (write_text(at, setting->file, setting->value) == 0) continue;
    size_t length = strlen(path);
    snprintf(path + length, sizeof path - length, "/%s", setting->file);
    failed(failure, "cgroup-set", path);
    close(at);
    return -1;
  }
  int entrance = openat(at, unified ? "cgroup.procs" : "tasks", O_WRONLY | O_CLOEXEC);
  if (entrance < 0) failed(failure, "cgroup", path);
  if (entrance >= 0 && unified && cgroups->unified < 0) {
    cgroups->unified = cgroups->count;
    cgroups->unified_directory = at;
  } else {
    close(at);
  }
  if (entrance < 0) return -1;
  cgroups->entrances[cgroups->count++] = entrance;
  return 0;
}

int cgroups_make(const struct options *options, struct cgroups *cgroups, struct failure *failure) {
  cgroups->unified = -1;
  for (int i = 0; i < options->cgroups_count; i++)
    if (make_one(options, &options->cgroups[i], cgroups, failure) < 0) return -1;
  return 0;
}

pid_t cgroups_clone(struct cgroups *cgroups, unsigned long flags) {
  if (cgroups->unified >= 0) {
    struct clone_args args = {
        .flags = flags | CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (unsigned)cgroups->unified_directory};
    cgroups->born_inside = true; /* seen by the child */
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (pid >= 0) return pid;
    cgroups->born_inside = false; /* seccomp, say; a cgroup that cannot be entered shows when it is entered */
  }
  return (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
}

int cgroups_enter(const struct cgroups *cgroups, const struct options *options, struct failure *failure) {
  for (int i = 0; i < cgroups->count; i++)
    if (!(cgroups->born_inside && i == cgroups->unified) && write(cgroups->entrances[i], "0", 1) < 0)
      return failed(failure, "cgroup-enter", options->cgroups[i].hierarchy);
  return 0;
}

void cgroups_remove(struct cgroups *cgroups) {
  const struct timespec moment = {.tv_nsec = 2000000};
  for (int i = cgroups->made_count - 1; i >= 0; i--)
    for (int attempt = 0; rmdir(cgroups->made[i]) < 0 && errno == EBUSY && attempt < 100; attempt++) nanosleep(&moment, NULL);
}
