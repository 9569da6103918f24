/* See request.h. */
#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "protocol.h"

enum { REQUEST_MAGIC = 0x46545352, REQUEST_VERSION = 1, HOST_FILE_LIMIT = 1 << 20 };
#define HOST_FILE_MISSING "MUSTER_HOSTFILE_MISSING="
#define HOST_FILE_VARIABLE "MUSTER_HOSTFILE_TEXT="

struct limit {
  uint32_t resource, reserved;
  uint64_t soft, hard;
};

static bool write_all(int fd, const void *bytes, size_t length) {
  const char *from = bytes;
  while (length > 0) {
    ssize_t count = write(fd, from, length);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    from += count;
    length -= (size_t)count;
  }
  return true;
}

static bool write_strings(int fd, char *const *strings, uint32_t count) {
  char space[16384];
  size_t used = 0;
  for (uint32_t i = 0; i < count; i++) {
    size_t length = strlen(strings[i]) + 1;
    if (used + length > sizeof space) {
      if (!write_all(fd, space, used)) return false;
      used = 0;
    }
    if (length > sizeof space) {
      if (!write_all(fd, strings[i], length)) return false;
      continue;
    }
    memcpy(space + used, strings[i], length);
    used += length;
  }
  return write_all(fd, space, used);
}

static bool is_one_of(const char *word, const char *const *words) {
  for (; *words; words++) {
    if (strcmp(word, *words) == 0) return true;
  }
  return false;
}

/* The host file that the options before the program name, or NULL: the control plane must not open what a user names.
 * Options and how many values they take are those of cli/run-options.ts. */
static const char *host_file_of(int argc, char *const *argv) {
  static const char *const host_files[] = {"-f", "--hostfile", "-hostfile", "-machinefile", NULL};
  static const char *const flags[] = {
      "-l", "--label", "-prepend-rank", "-genvnone",    "--clean-env",           "-genvall", "-d",     "--detach",
      "-t", "--tty",   "--dry-run",     "--keep-going", "-disable-auto-cleanup", "-h",       "--help", "-help",
      NULL};
  static const char *const pairs[] = {"-env", "-genv", NULL};
  for (int i = 1; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--") != 0; i++) {
    if (is_one_of(argv[i], host_files)) return i + 1 < argc ? argv[i + 1] : NULL;
    if (strncmp(argv[i], "--hostfile=", 11) == 0) return argv[i] + 11;
    if (is_one_of(argv[i], pairs)) i += 2;
    else if (!is_one_of(argv[i], flags) && !(argv[i][1] == '-' && strchr(argv[i], '='))) i++;
  }
  return NULL;
}

/* Its text as one more variable of the environment. A file that cannot be read is told by the control plane, which misses it. */
static bool write_host_file(int fd, const char *path) {
  char space[16384];
  size_t total = 0;
  struct stat about;
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (file >= 0 && (fstat(file, &about) != 0 || !S_ISREG(about.st_mode))) {
    close(file);
    file = -1;
  }
  const char *variable = file < 0 ? HOST_FILE_MISSING : HOST_FILE_VARIABLE;
  bool good = write_all(fd, variable, strlen(variable));
  while (file >= 0 && good && total < HOST_FILE_LIMIT) {
    ssize_t count = read(file, space, sizeof space);
    if (count <= 0) break;
    for (ssize_t i = 0; i < count; i++) {
      if (space[i] == 0) space[i] = '\n';
    }
    total += (size_t)count;
    good = write_all(fd, space, (size_t)count);
  }
  if (file >= 0) close(file);
  return good && write_all(fd, "", 1);
}

int request_make(int argc, char *const *argv, char *const *envp) {
  struct front_request request = {.magic = REQUEST_MAGIC, .version = REQUEST_VERSION, .argc = (uint32_t)argc};
  while (envp[request.envc]) request.envc++;
  const char *host_file = host_file_of(argc, argv);
  const uint32_t own = request.envc;
  if (host_file) request.envc++;
  mode_t mask = umask(0);
  umask(mask);
  request.umask = mask;
  for (int fd = 0; fd <= 2; fd++) {
    struct winsize size;
    if (!isatty(fd)) continue;
    request.terminal |= 1u << fd;
    if (request.rows == 0 && ioctl(fd, TIOCGWINSZ, &size) == 0) {
      request.rows = size.ws_row;
      request.columns = size.ws_col;
    }
  }
  struct limit limits[RLIM_NLIMITS];
  memset(limits, 0, sizeof limits);
  for (uint32_t resource = 0; resource < RLIM_NLIMITS; resource++) {
    struct rlimit limit;
    if (getrlimit(resource, &limit) != 0) continue;
    limits[request.rlimits++] = (struct limit){resource, 0, limit.rlim_cur, limit.rlim_max};
  }
  char directory[4096];
  if (!getcwd(directory, sizeof directory)) return -errno;
  int fd = memfd_create("muster-request", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -errno;
  errno = EIO;
  if (!write_all(fd, &request, sizeof request) || !write_all(fd, limits, request.rlimits * sizeof *limits) ||
      !write_strings(fd, argv, request.argc) || !write_strings(fd, envp, own) || (host_file && !write_host_file(fd, host_file)) ||
      !write_all(fd, directory, strlen(directory) + 1) ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  return fd;
}
