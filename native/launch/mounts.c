/* See mounts.h. The root is entered before anything is mounted in it, so no link in it can lead out again; what comes from
 * outside (binds, devices) is opened before.
 */
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

struct device {
  const char *path;
  mode_t mode;
  uid_t uid;
  gid_t gid;
  dev_t number;
  int tree; /* in a user namespace: the host's node, to be bound */
};

static const char *const usual_devices[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"};
enum { USUAL_DEVICES = sizeof usual_devices / sizeof *usual_devices };

static int clone_tree(const char *path, unsigned flags) {
  return open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
}

static int place_tree(int tree, const char *target) { return move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH); }

/* --- before the root is entered --- */

static int open_binds(struct options *options, bool carried, struct failure *failure) {
  for (int i = 0; i < options->mounts_count; i++) {
    struct mount *mount = &options->mounts[i];
    if (mount->kind != MOUNT_BIND || mount->carried != carried) continue;
    mount->descriptor = clone_tree(mount->source, options->user_namespace ? AT_RECURSIVE : 0);
    if (mount->descriptor < 0) return failed(failure, "bind", mount->source);
  }
  return 0;
}

static int open_devices(const struct options *options, struct device *devices, struct failure *failure) {
  for (int i = 0; i < USUAL_DEVICES + options->devices_count; i++) {
    const char *path = i < USUAL_DEVICES ? usual_devices[i] : options->devices[i - USUAL_DEVICES];
    struct stat stat_;
    if (stat(path, &stat_) < 0) return failed(failure, "device", path);
    if (!S_ISCHR(stat_.st_mode) && !S_ISBLK(stat_.st_mode)) return failed_with(failure, "device", path, ENODEV);
    devices[i] = (struct device){path, stat_.st_mode, stat_.st_uid, stat_.st_gid, stat_.st_rdev, -1};
    if (!options->user_namespace) continue;
    devices[i].tree = clone_tree(path, 0);
    if (devices[i].tree < 0) return failed(failure, "device", path);
  }
  return 0;
}

static int make_private(struct failure *failure) {
  return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? failed(failure, "private", "/") : 0;
}

/* Into the carrier's mounts, in a namespace of our own again. Devices and the node's own binds were opened before. */
static int enter_carrier(const struct options *options, struct failure *failure) {
  bool own_network = strcmp(options->network, "host") == 0;
  if (own_network && setns(options->carrier, CLONE_NEWNET) < 0) return failed(failure, "carrier", "network");
  if (setns(options->carrier, CLONE_NEWNS) < 0 || unshare(CLONE_NEWNS) < 0) return failed(failure, "carrier", "mounts");
  return make_private(failure);
}

/* What an image holds gives nobody rights on the node. */
static int disarm(int tree) {
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
  return mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes);
}

/* The clone of the root is put somewhere it covers nothing that is still needed, entered, and the old one let go. */
static int enter_root(const struct options *options, struct failure *failure) {
  int root = clone_tree(options->root, options->user_namespace ? AT_RECURSIVE : 0);
  if (root < 0) return failed(failure, "root", options->root);
  if (options->carrier >= 0 && disarm(root) < 0) return failed(failure, "root", options->root);
  if (place_tree(root, "/proc") < 0) return failed(failure, "root", options->root);
  if (fchdir(root) < 0) return failed(failure, "root", options->root);
  close(root);
  return 0;
}

static int leave_old_root(struct failure *failure) {
  if (syscall(SYS_pivot_root, ".", ".") < 0) return failed(failure, "pivot_root", "/");
  if (umount2(".", MNT_DETACH) < 0) return failed(failure, "pivot_root", "/");
  if (chdir("/") < 0) return failed(failure, "pivot_root", "/");
  return 0;
}

/* --- mount points --- */

/* Follows links of a path whose end need not exist; the kernel would refuse to mount on a dangling one. */
static int follow(const char *path, char *resolved) {
  snprintf(resolved, PATH_MAX, "%s", path);
  for (int links = 0; links < 16; links++) {
    char to[PATH_MAX], next[PATH_MAX];
    ssize_t length = readlink(resolved, to, sizeof to - 1);
    if (length < 0) return 0;
    to[length] = 0;
    int directory = to[0] == '/' ? 0 : (int)(strrchr(resolved, '/') - resolved + 1);
    if (snprintf(next, sizeof next, "%.*s%s", directory, resolved, to) >= (int)sizeof next) {
      errno = ENAMETOOLONG;
      return -1;
    }
    memcpy(resolved, next, sizeof next);
  }
  errno = ELOOP;
  return -1;
}

static bool on_tmpfs(const char *path) {
  struct statfs type;
  return statfs(path, &type) == 0 && type.f_type == TMPFS_MAGIC;
}

/* Makes what is missing of a mount point, on tmpfs only: nothing is ever written to the root's own file system. */
static int make_target(char *path, bool directory) {
  if (access(path, F_OK) == 0) return 0;
  if (errno != ENOENT) return -1;
  char *slash = strrchr(path, '/');
  if (!slash || slash == path) return -1;
  *slash = 0;
  int result = make_target(path, true);
  if (result == 0 && !on_tmpfs(path)) {
    errno = ENOENT;
    result = -1;
  }
  *slash = '/';
  if (result < 0) return -1;
  if (directory) return mkdir(path, 0755);
  int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0) return -1;
  return close(file);
}

/* --- in the new root --- */

static int mount_tmpfs(const char *target, unsigned long flags, const char *data, struct failure *failure) {
  char path[PATH_MAX];
  if (follow(target, path) < 0 || make_target(path, true) < 0) return failed(failure, "tmpfs", target);
  if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | flags, data) < 0) return failed(failure, "tmpfs", target);
  return 0;
}

static bool is_replaced(const struct options *options, const char *target) {
  for (int i = 0; i < options->mounts_count; i++)
    if (options->mounts[i].kind == MOUNT_TMPFS && strcmp(options->mounts[i].target, target) == 0) return true;
  return false;
}

static int mount_kernel_views(const struct options *options, struct failure *failure) {
  const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (mount("proc", "/proc", "proc", flags, NULL) < 0) return failed(failure, "proc", "/proc");
  /* sysfs belongs to whoever owns the network namespace: with the host's, a user namespace keeps the host's view. */
  if (mount("sysfs", "/sys", "sysfs", flags | MS_RDONLY, NULL) < 0 && !(options->user_namespace && errno == EPERM))
    return failed(failure, "sysfs", "/sys");
  return 0;
}

static int make_device(const struct device *device) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s", device->path);
  if (device->tree >= 0) {
    if (make_target(path, false) < 0 || place_tree(device->tree, path) < 0) return -1;
    return close(device->tree);
  }
  char *slash = strrchr(path, '/');
  *slash = 0;
  if (make_target(path, true) < 0) return -1;
  *slash = '/';
  if (mknod(path, device->mode, device->number) < 0) return -1;
  return (device->uid || device->gid) ? lchown(path, device->uid, device->gid) : 0;
}

static int mount_devices(const struct options *options, const struct device *devices, struct failure *failure) {
  if (mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=755,size=16m") < 0) return failed(failure, "tmpfs", "/dev");
  for (int i = 0; i < USUAL_DEVICES + options->devices_count; i++)
    if (make_device(&devices[i]) < 0) return failed(failure, "device", devices[i].path);

  static const char *const links[][2] = {{"pts/ptmx", "/dev/ptmx"},
                                         {"/proc/self/fd", "/dev/fd"},
                                         {"/proc/self/fd/0", "/dev/stdin"},
                                         {"/proc/self/fd/1", "/dev/stdout"},
                                         {"/proc/self/fd/2", "/dev/stderr"}};
  for (size_t i = 0; i < sizeof links / sizeof *links; i++)
    if (symlink(links[i][0], links[i][1]) < 0) return failed(failure, "device", links[i][1]);

  const char *data =
      options->user_namespace ? "newinstance,ptmxmode=0666,mode=0620" : "newinstance,ptmxmode=0666,mode=0620,gid=5";
  if (mkdir("/dev/pts", 0755) < 0 || mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, data) < 0)
    return failed(failure, "devpts", "/dev/pts");
  if (mkdir("/dev/shm", 0755) < 0) return failed(failure, "tmpfs", "/dev/shm");
  return 0;
}

static int mount_private_directories(const struct options *options, struct failure *failure) {
  static const char *const usual[][2] = {{"/dev/shm", "mode=1777"}, {"/tmp", "mode=1777"}, {"/run", "mode=755,size=64m"}};
  for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
    if (is_replaced(options, usual[i][0])) continue;
    /* An image of nothing but a program has no place for them. */
    if (options->carrier >= 0 && access(usual[i][0], F_OK) < 0) continue;
    if (mount_tmpfs(usual[i][0], 0, usual[i][1], failure) < 0) return -1;
  }
  return 0;
}

static int copy_to(int from, const char *path, mode_t mode) {
  int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (to < 0) return -1;
  off_t at = 0;
  ssize_t copied;
  while ((copied = sendfile(to, from, &at, 1 << 30)) > 0) continue;
  int error = errno;
  close(to);
  errno = error;
  return copied < 0 ? -1 : 0;
}

static int read_only(int tree) {
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
  return mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes);
}

static int place_bind(const struct mount *mount, struct failure *failure) {
  char path[PATH_MAX];
  struct stat stat_;
  if (fstat(mount->descriptor, &stat_) < 0 || follow(mount->target, path) < 0 || make_target(path, S_ISDIR(stat_.st_mode)) < 0)
    return failed(failure, "bind-target", mount->target);
  if (mount->read_only && read_only(mount->descriptor) < 0) return failed(failure, "bind-target", mount->target);
  if (mount->carried && disarm(mount->descriptor) < 0) return failed(failure, "bind-target", mount->target);
  if (place_tree(mount->descriptor, path) < 0) return failed(failure, "bind-target", mount->target);
  close(mount->descriptor);
  return 0;
}

/* 1 when the root has no such file to cover. */
static int place_file(const struct mount *mount, int number, struct failure *failure) {
  char path[PATH_MAX], content[64];
  snprintf(content, sizeof content, "/dev/.muster/files/%d", number);
  if (follow(mount->target, path) < 0) return failed(failure, "file", mount->target);
  if (make_target(path, false) < 0) return errno == ENOENT ? 1 : failed(failure, "file", mount->target);
  if (copy_to(mount->descriptor, content, 0444) < 0) return failed(failure, "file", mount->target);
  int tree = clone_tree(content, 0);
  if (tree < 0 || read_only(tree) < 0 || place_tree(tree, path) < 0) return failed(failure, "file", mount->target);
  close(tree);
  return 0;
}

static int mount_asked(const struct options *options, char *skipped, size_t skipped_bytes, struct failure *failure) {
  if (mkdir("/dev/.muster/files", 0755) < 0) return failed(failure, "file", "/dev/.muster/files");
  for (int i = 0; i < options->mounts_count; i++) {
    const struct mount *mount = &options->mounts[i];
    int result = 0;
    if (mount->kind == MOUNT_TMPFS) {
      const char *data = mount->options ? mount->options : "mode=755";
      result = mount_tmpfs(mount->target, 0, data, failure);
    } else if (mount->kind == MOUNT_BIND) {
      result = place_bind(mount, failure);
    } else {
      result = place_file(mount, i, failure);
    }
    if (result < 0) return -1;
    if (result == 1) {
      size_t length = strlen(skipped);
      snprintf(skipped + length, skipped_bytes - length, "%s%s", length ? "," : "", mount->target);
    }
  }
  return 0;
}

int mounts_build(struct options *options, int init, char *skipped, unsigned long skipped_bytes, struct failure *failure) {
  struct device devices[USUAL_DEVICES + DEVICES_MAX];
  skipped[0] = 0;
  /* First of all: a clone of a shared mount would get what the host mounts below it later. */
  if (make_private(failure) < 0) return -1;
  if (open_binds(options, false, failure) < 0 || open_devices(options, devices, failure) < 0) return -1;
  if (options->carrier >= 0 && (enter_carrier(options, failure) < 0 || open_binds(options, true, failure) < 0)) return -1;
  if (enter_root(options, failure) < 0 || leave_old_root(failure) < 0) return -1;
  umask(0);
  if (mount_kernel_views(options, failure) < 0 || mount_devices(options, devices, failure) < 0) return -1;
  if (mount_private_directories(options, failure) < 0) return -1;
  if (mkdir("/dev/.muster", 0711) < 0 || copy_to(init, INIT_PATH, 0555) < 0) return failed(failure, "init", INIT_PATH);
  if (mount_asked(options, skipped, skipped_bytes, failure) < 0) return -1;
  umask(022);
  return 0;
}
