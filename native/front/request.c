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

enum { REQUEST_MAGIC = 0x46545352, REQUEST_VERSION = 1, PARTS = 64 };

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

int request_make(int argc, char *const *argv, char *const *envp) {
  struct front_request request = {.magic = REQUEST_MAGIC, .version = REQUEST_VERSION, .argc = (uint32_t)argc};
  while (envp[request.envc]) request.envc++;
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
      !write_strings(fd, argv, request.argc) || !write_strings(fd, envp, request.envc) ||
      !write_all(fd, directory, strlen(directory) + 1) ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  return fd;
}
