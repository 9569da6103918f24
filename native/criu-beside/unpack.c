/* See archive.h. Unpacks what pack.c packs, and what else is as simple, into a directory that is empty: nothing is written over, and no link is
 * followed. Directories get their owner, rights and times at last, when nothing is put into them any more.
 */
#include "archive.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct entry {
  char path[LONGEST_NAME + 1]; /* empty: the directory itself */
  char target[LONGEST_NAME + 1];
  char kind;
  mode_t mode;
  uid_t uid;
  gid_t gid;
  uint64_t size, mtime, device;
};

static int top;

static bool number_of(const char *field, size_t size, uint64_t *value) {
  *value = 0;
  for (size_t i = 0; i < size && field[i] != 0 && field[i] != ' '; i++) {
    if (field[i] < '0' || field[i] > '7') return false;
    *value = *value * 8 + (uint64_t)(field[i] - '0');
  }
  return true;
}

static bool text_of(char *text, const char *field) {
  memcpy(text, field, LONGEST_NAME + 1);
  return text[LONGEST_NAME] == 0;
}

/* "./a/b/" becomes "a/b". */
static bool shorten(char *path) {
  size_t length = strlen(path);
  if (length < 2 || memcmp(path, "./", 2) != 0) return false;
  memmove(path, path + 2, length - 1);
  length -= 2;
  if (length > 0 && path[length - 1] == '/') path[length - 1] = 0;
  for (const char *part = path; *part;) {
    const char *end = strchr(part, '/');
    size_t size = end ? (size_t)(end - part) : strlen(part);
    if (size == 0 || (part[0] == '.' && (size == 1 || (size == 2 && part[1] == '.')))) return false;
    part += size + (end && end[1] ? 1 : 0);
    if (*part == '/') return false;
  }
  return true;
}

static bool parse(const struct header *header, struct entry *entry) {
  uint64_t sum, mode, uid, gid, major, minor;
  memset(entry, 0, sizeof *entry);
  bool known = memcmp(header->magic, "ustar  ", sizeof header->magic) == 0 && number_of(header->sum, sizeof header->sum, &sum) &&
               sum == header_sum(header) && number_of(header->mode, sizeof header->mode, &mode) &&
               number_of(header->uid, sizeof header->uid, &uid) && number_of(header->gid, sizeof header->gid, &gid) &&
               number_of(header->size, sizeof header->size, &entry->size) &&
               number_of(header->mtime, sizeof header->mtime, &entry->mtime) &&
               number_of(header->major, sizeof header->major, &major) && number_of(header->minor, sizeof header->minor, &minor) &&
               text_of(entry->path, header->name) && text_of(entry->target, header->target) && shorten(entry->path);
  if (!known) return false;
  /* Names of owners would count for more than their numbers. */
  for (size_t i = 0; i < sizeof header->names; i++)
    if (header->names[i]) return false;
  entry->kind = header->kind ? header->kind : '0';
  entry->mode = (mode_t)mode & 07777;
  entry->uid = (uid_t)uid;
  entry->gid = (gid_t)gid;
  entry->device = (minor & 0xff) | (major << 8) | ((minor & ~(uint64_t)0xff) << 12);
  bool is_top = entry->path[0] == 0;
  return strchr("023456", entry->kind) && (entry->kind == '5' || !is_top) && (entry->kind == '0' || entry->size == 0);
}

/* Of the directory that it is in, which no link leads to; the last part of its name. */
static int open_parent(const char *path, const char **last) {
  char parent[LONGEST_NAME + 1];
  const char *slash = strrchr(path, '/');
  size_t length = slash ? (size_t)(slash - path) : 0;
  memcpy(parent, path, length);
  parent[length] = 0;
  *last = slash ? slash + 1 : path;
  struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
  return (int)syscall(SYS_openat2, top, length ? parent : ".", &how, sizeof how);
}

static bool give(int directory, const char *name, const struct entry *entry) {
  const struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)entry->mtime}};
  int flags = AT_SYMLINK_NOFOLLOW;
  return fchownat(directory, name, entry->uid, entry->gid, flags) == 0 &&
         (entry->kind == '2' || syscall(SYS_fchmodat, directory, name, entry->mode) == 0) &&
         syscall(SYS_utimensat, directory, name, times, flags) == 0;
}

static bool fill(int directory, const char *name, int in, off_t at, uint64_t size) {
  static uint8_t chunk[CHUNK];
  int fd = (int)syscall(SYS_openat, directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  while (size > 0) {
    ssize_t count = pread(in, chunk, size < sizeof chunk ? (size_t)size : sizeof chunk, at);
    if (count <= 0 || write(fd, chunk, (size_t)count) != count) break;
    at += count;
    size -= (uint64_t)count;
  }
  return close(fd) == 0 && size == 0;
}

static bool make(const struct entry *entry, int in, off_t content) {
  const char *name;
  if (entry->path[0] == 0) return true;
  int directory = open_parent(entry->path, &name);
  if (directory < 0) return false;
  bool made = false;
  switch (entry->kind) {
  case '0': made = fill(directory, name, in, content, entry->size); break;
  case '2': made = symlinkat(entry->target, directory, name) == 0; break;
  case '3': made = syscall(SYS_mknodat, directory, name, S_IFCHR | 0600, entry->device) == 0; break;
  case '4': made = syscall(SYS_mknodat, directory, name, S_IFBLK | 0600, entry->device) == 0; break;
  case '5': made = mkdirat(directory, name, 0700) == 0; break;
  case '6': made = syscall(SYS_mknodat, directory, name, S_IFIFO | 0600, 0) == 0; break;
  }
  if (made && entry->kind != '5') made = give(directory, name, entry);
  close(directory);
  return made;
}

static bool finish(const struct entry *entry) {
  const char *name;
  if (entry->kind != '5') return true;
  if (entry->path[0] == 0) return give(top, ".", entry);
  int directory = open_parent(entry->path, &name);
  bool given = directory >= 0 && give(directory, name, entry);
  if (directory >= 0) close(directory);
  return given;
}

static bool walk(int in, off_t at, bool is_last) {
  static const struct header none;
  struct header header;
  struct entry entry;
  for (;;) {
    ssize_t count = pread(in, &header, sizeof header, at);
    if (count == 0) return true;
    if (count != sizeof header) return false;
    at += BLOCK;
    if (memcmp(&header, &none, sizeof header) == 0) continue;
    if (!parse(&header, &entry) || !(is_last ? finish(&entry) : make(&entry, in, at))) return false;
    at += (off_t)((entry.size + BLOCK - 1) / BLOCK * BLOCK);
  }
}

bool archive_unpack(int in, const char *directory) {
  off_t began = lseek(in, 0, SEEK_CUR);
  top = (int)syscall(SYS_openat, AT_FDCWD, directory, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  bool done = began >= 0 && top >= 0 && walk(in, began, false) && walk(in, began, true);
  if (top >= 0) close(top);
  return done;
}
