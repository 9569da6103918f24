/* See sink.h. */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPY_BYTES = 1 << 16, TERMINAL_BYTES = 4096 };

void sink_open(struct sink *sink, int fd) {
  memset(sink, 0, sizeof *sink);
  sink->fd = fd;
  struct stat status;
  if (fstat(fd, &status) != 0) {
    sink->error = errno;
    return;
  }
  sink->kind = S_ISFIFO(status.st_mode)   ? SINK_PIPE
               : S_ISSOCK(status.st_mode) ? SINK_SOCKET
               : isatty(fd)               ? SINK_TERMINAL
                                          : SINK_FILE;
  if (sink->kind != SINK_PIPE && sink->kind != SINK_TERMINAL) return;
  char path[] = "/proc/self/fd/1";
  path[sizeof path - 2] = (char)('0' + fd);
  int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (own >= 0) sink->fd = own;
}

bool sink_same(int a, int b) {
  struct stat one, other;
  return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/* How a failed write is taken. */
static void failed(struct sink *sink, int error) {
  if (error == EAGAIN) sink->blocked = true;
  else if (error != EINTR) sink->error = error;
}

size_t sink_write(struct sink *sink, const void *bytes, size_t length) {
  if (sink->kind == SINK_TERMINAL && length > TERMINAL_BYTES) length = TERMINAL_BYTES;
  ssize_t count =
      sink->kind == SINK_SOCKET ? send(sink->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL) : write(sink->fd, bytes, length);
  if (count >= 0) return (size_t)count;
  failed(sink, errno);
  return 0;
}

ssize_t sink_copy(struct sink *sink, int file, uint64_t offset, size_t length, bool may_splice) {
  if (sink->kind == SINK_PIPE && may_splice) {
    loff_t at = (loff_t)offset;
    ssize_t count = splice(file, &at, sink->fd, NULL, length, SPLICE_F_NONBLOCK);
    if (count > 0) return count;
    if (count == 0) return -1;
    if (errno != EINVAL) {
      failed(sink, errno);
      return 0;
    }
  }
  static char bytes[COPY_BYTES];
  ssize_t got = pread(file, bytes, length < sizeof bytes ? length : sizeof bytes, (off_t)offset);
  if (got <= 0) return -1;
  return (ssize_t)sink_write(sink, bytes, (size_t)got);
}
