/* See archive.h. Packs what is simple, which is all that most sandboxes have in their own file systems: short names, no file that has several
 * names, or holes, or is a socket.
 */
#include "archive.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As the kernel has it. */
struct name {
  uint64_t inode;
  int64_t next;
  uint16_t length;
  uint8_t kind;
  char text[];
};

static int out;
static uint8_t chunk[CHUNK];
static size_t kept;
static char path[LONGEST_NAME + 1];
static dev_t device;

static bool flush(void) {
  for (size_t done = 0; done < kept;) {
    ssize_t count = write(out, chunk + done, kept - done);
    if (count <= 0) return false;
    done += (size_t)count;
  }
  kept = 0;
  return true;
}

static bool put(const void *from, size_t size) {
  if (size > sizeof chunk - kept && !flush()) return false;
  memcpy(chunk + kept, from, size);
  kept += size;
  return true;
}

/* In octal, with a zero behind it. */
static bool put_number(char *field, size_t size, uint64_t value) {
  field[--size] = 0;
  while (size > 0) {
    field[--size] = (char)('0' + value % 8);
    value /= 8;
  }
  return value == 0;
}

uint32_t header_sum(const struct header *header) {
  const uint8_t *at = (const uint8_t *)header;
  uint32_t sum = 0;
  for (size_t i = 0; i < sizeof *header; i++) {
    bool is_sum = i >= offsetof(struct header, sum) && i < offsetof(struct header, sum) + sizeof header->sum;
    sum += is_sum ? ' ' : at[i];
  }
  return sum;
}

static bool put_header(const struct stat *stat, char kind, const char *target) {
  struct header header;
  memset(&header, 0, sizeof header);
  uint64_t rdev = stat->st_rdev;
  bool has_device = kind == '3' || kind == '4';
  size_t length = strlen(path), links = strlen(target);
  if (length > LONGEST_NAME || links > LONGEST_NAME || stat->st_mtime < 0) return false;
  memcpy(header.name, path, length);
  memcpy(header.target, target, links);
  memcpy(header.magic, "ustar  ", sizeof header.magic);
  header.kind = kind;
  bool fits = put_number(header.mode, sizeof header.mode, stat->st_mode & 07777) &&
              put_number(header.uid, sizeof header.uid, stat->st_uid) &&
              put_number(header.gid, sizeof header.gid, stat->st_gid) &&
              put_number(header.size, sizeof header.size, kind == '0' ? (uint64_t)stat->st_size : 0) &&
              put_number(header.mtime, sizeof header.mtime, (uint64_t)stat->st_mtime) &&
              (!has_device || (put_number(header.major, sizeof header.major, (rdev >> 8) & 0xfff) &&
                               put_number(header.minor, sizeof header.minor, (rdev & 0xff) | ((rdev >> 12) & 0xfff00))));
  put_number(header.sum, sizeof header.sum - 1, header_sum(&header));
  header.sum[sizeof header.sum - 1] = ' ';
  return fits && put(&header, sizeof header);
}

static bool put_content(int directory, const char *name, off_t size) {
  static const uint8_t zeros[BLOCK];
  int fd = (int)syscall(SYS_openat, directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0) return false;
  off_t left = size;
  while (left > 0) {
    if (kept == sizeof chunk && !flush()) break;
    size_t room = sizeof chunk - kept;
    ssize_t count = read(fd, chunk + kept, left < (off_t)room ? (size_t)left : room);
    if (count <= 0) break;
    kept += (size_t)count;
    left -= count;
  }
  close(fd);
  size_t odd = (size_t)(size % BLOCK);
  return left == 0 && (odd == 0 || put(zeros, BLOCK - odd));
}

static bool put_link(int directory, const char *name, const struct stat *stat) {
  char target[LONGEST_NAME + 2];
  ssize_t length = readlinkat(directory, name, target, sizeof target - 1);
  if (length < 0 || length > LONGEST_NAME) return false;
  target[length] = 0;
  return put_header(stat, '2', target);
}

static bool put_directory(int directory);

static bool put_entry(int directory, const char *name) {
  struct stat stat;
  size_t before = strlen(path), length = strlen(name);
  if (before + length + 1 > LONGEST_NAME || syscall(SYS_newfstatat, directory, name, &stat, AT_SYMLINK_NOFOLLOW) < 0 ||
      stat.st_dev != device)
    return false;
  memcpy(path + before, name, length + 1);
  bool done = false;
  if (S_ISDIR(stat.st_mode)) {
    memcpy(path + before + length, "/", 2);
    int inner = (int)syscall(SYS_openat, directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    done = inner >= 0 && put_header(&stat, '5', "") && put_directory(inner);
    if (inner >= 0) close(inner);
  } else if (stat.st_nlink > 1) {
    done = false;
  } else if (S_ISREG(stat.st_mode)) {
    done =
        (off_t)stat.st_blocks * BLOCK >= stat.st_size && put_header(&stat, '0', "") && put_content(directory, name, stat.st_size);
  } else if (S_ISLNK(stat.st_mode)) {
    done = put_link(directory, name, &stat);
  } else if (S_ISCHR(stat.st_mode) || S_ISBLK(stat.st_mode) || S_ISFIFO(stat.st_mode)) {
    done = put_header(&stat, S_ISCHR(stat.st_mode) ? '3' : S_ISBLK(stat.st_mode) ? '4' : '6', "");
  }
  path[before] = 0;
  return done;
}

static bool put_directory(int directory) {
  char names[4096] __attribute__((aligned(8)));
  for (;;) {
    long count = syscall(SYS_getdents64, directory, names, sizeof names);
    if (count <= 0) return count == 0;
    for (long at = 0; at < count;) {
      const struct name *name = (const struct name *)(names + at);
      at += name->length;
      bool is_itself = strcmp(name->text, ".") == 0 || strcmp(name->text, "..") == 0;
      if (!is_itself && !put_entry(directory, name->text)) return false;
    }
  }
}

bool archive_pack(int directory, int to) {
  static const uint8_t end[2 * BLOCK];
  struct stat stat;
  off_t began = lseek(to, 0, SEEK_CUR);
  out = to;
  memcpy(path, "./", 3);
  if (began < 0 || syscall(SYS_newfstatat, directory, "", &stat, AT_EMPTY_PATH) < 0) return false;
  device = stat.st_dev;
  if (put_header(&stat, '5', "") && put_directory(directory) && put(end, sizeof end) && flush()) return true;
  lseek(directory, 0, SEEK_SET);
  lseek(to, began, SEEK_SET);
  if (ftruncate(to, began) < 0) _exit(1);
  return false;
}
