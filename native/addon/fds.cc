// Descriptors and what is done to one of them at a time: memfds, locks, mappings, eventfds, terminals, holes in files.
// Everything is close-on-exec. No descriptor is closed here that was not given with close() or failed half-made.
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "call.h"
#include "functions.h"

namespace muster {

namespace {

napi_value closeFd(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd;
  if (!call.integer(0, "fd", &fd)) return nullptr;
  // EINTR: Linux has closed it all the same.
  if (close(fd) != 0 && errno != EINTR) return throwErrno(env, "close", errno);
  return undefined(env);
}

napi_value dupFd(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd;
  if (!call.integer(0, "fd", &fd)) return nullptr;
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return copy < 0 ? throwErrno(env, "fcntl", errno) : number(env, copy);
}

napi_value memfd(napi_env env, napi_callback_info info) {
  Call call(env, info);
  std::string name;
  const uint8_t *data;
  size_t length;
  bool sealed;
  if (!call.string(0, "name", &name) || !call.bytes(1, "bytes", &data, &length) || !call.flag(2, "sealed", &sealed))
    return nullptr;
  int fd = memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return throwErrno(env, "memfd_create", errno);
  for (size_t done = 0; done < length;) {
    ssize_t count = pwrite(fd, data + done, length - done, static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      int error = count < 0 ? errno : EIO;
      close(fd);
      return throwErrno(env, "pwrite", error);
    }
    done += static_cast<size_t>(count);
  }
  if (sealed && fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
    int error = errno;
    close(fd);
    return throwErrno(env, "fcntl", error);
  }
  return number(env, fd);
}

napi_value readAll(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd;
  uint32_t most;
  if (!call.integer(0, "fd", &fd) || !call.unsignedInteger(1, "maxBytes", &most)) return nullptr;
  struct stat status;
  if (fstat(fd, &status) != 0) return throwErrno(env, "fstat", errno);
  if (status.st_size > static_cast<off_t>(most)) return throwErrno(env, "read", EFBIG);
  // Files of /proc say 0: then it is read until it ends.
  size_t capacity = status.st_size > 0 ? static_cast<size_t>(status.st_size) : (most < 65536u ? most : 65536u);
  std::string bytes(capacity, '\0');
  size_t done = 0;
  for (;;) {
    if (done == bytes.size()) {
      char more;
      ssize_t count = pread(fd, &more, 1, static_cast<off_t>(done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return throwErrno(env, "pread", errno);
      if (count == 0) break;
      if (done >= most) return throwErrno(env, "read", EFBIG);
      size_t grown = done * 2 + 4096;
      bytes.resize(grown < most ? grown : most);
    }
    ssize_t count = pread(fd, &bytes[done], bytes.size() - done, static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return throwErrno(env, "pread", errno);
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  napi_value result = nullptr;
  napi_create_buffer_copy(env, done, bytes.data(), nullptr, &result);
  return result;
}

napi_value seek(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd;
  uint64_t offset;
  if (!call.integer(0, "fd", &fd) || !call.bigint(1, "offset", &offset)) return nullptr;
  if (lseek(fd, static_cast<off_t>(offset), SEEK_SET) < 0) return throwErrno(env, "lseek", errno);
  return undefined(env);
}

napi_value lock(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd;
  if (!call.integer(0, "fd", &fd)) return nullptr;
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    return errno == EWOULDBLOCK ? boolean(env, false) : throwErrno(env, "flock", errno);
  }
  return boolean(env, true);
}

napi_value mapReadOnly(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd;
  uint32_t length;
  if (!call.integer(0, "fd", &fd) || !call.unsignedInteger(1, "length", &length)) return nullptr;
  struct stat status;
  if (fstat(fd, &status) != 0) return throwErrno(env, "fstat", errno);
  // Touching a mapping past the end of its file would end the process.
  if (length == 0 || status.st_size < static_cast<off_t>(length)) return throwErrno(env, "mmap", EOVERFLOW);
  void *start = mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, 0);
  if (start == MAP_FAILED) return throwErrno(env, "mmap", errno);
  napi_value result = nullptr;
  napi_status made = napi_create_external_arraybuffer(
      env, start, length, [](napi_env, void *data, void *hint) { munmap(data, reinterpret_cast<size_t>(hint)); },
      reinterpret_cast<void *>(static_cast<size_t>(length)), &result);
  if (made != napi_ok) {
    munmap(start, length);
    return throwErrno(env, "mmap", ENOMEM);
  }
  return result;
}

napi_value eventfdRead(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd;
  if (!call.integer(0, "fd", &fd)) return nullptr;
  uint64_t value = 0;
  for (;;) {
    ssize_t count = read(fd, &value, sizeof value);
    if (count == static_cast<ssize_t>(sizeof value)) return big(env, value);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return big(env, 0);
    return throwErrno(env, "read", count < 0 ? errno : EIO);
  }
}

napi_value eventfdMake(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return fd < 0 ? throwErrno(env, "eventfd", errno) : number(env, fd);
}

napi_value pipeMake(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return throwErrno(env, "pipe2", errno);
  napi_value result = nullptr;
  napi_create_array_with_length(env, 2, &result);
  napi_set_element(env, result, 0, number(env, ends[0]));
  napi_set_element(env, result, 1, number(env, ends[1]));
  return result;
}

napi_value socketPairMake(napi_env env, napi_callback_info info) {
  Call call(env, info);
  bool packets;
  int ends[2];
  if (!call.flag(0, "packets", &packets)) return nullptr;
  if (socketpair(AF_UNIX, (packets ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0, ends) != 0)
    return throwErrno(env, "socketpair", errno);
  napi_value result = nullptr;
  napi_create_array_with_length(env, 2, &result);
  napi_set_element(env, result, 0, number(env, ends[0]));
  napi_set_element(env, result, 1, number(env, ends[1]));
  return result;
}

napi_value peerCredentials(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd;
  if (!call.integer(0, "fd", &fd)) return nullptr;
  return credentialsOf(env, fd);
}

napi_value setWindowSize(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd;
  uint32_t rows, columns;
  if (!call.integer(0, "ptyFd", &fd) || !call.unsignedInteger(1, "rows", &rows) || !call.unsignedInteger(2, "columns", &columns))
    return nullptr;
  struct winsize size = {};
  size.ws_row = static_cast<unsigned short>(rows);
  size.ws_col = static_cast<unsigned short>(columns);
  if (rows > 0xffff || columns > 0xffff) return throwErrno(env, "ioctl", EINVAL);
  return ioctl(fd, TIOCSWINSZ, &size) != 0 ? throwErrno(env, "ioctl", errno) : undefined(env);
}

napi_value punchHole(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd;
  uint64_t offset, length;
  if (!call.integer(0, "fd", &fd) || !call.bigint(1, "offset", &offset) || !call.bigint(2, "length", &length)) return nullptr;
  while (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
    if (errno != EINTR) return throwErrno(env, "fallocate", errno);
  }
  return undefined(env);
}

} // namespace

napi_value credentialsOf(napi_env env, int fd) {
  struct ucred peer;
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return throwErrno(env, "getsockopt", errno);
  napi_value result = nullptr;
  napi_create_object(env, &result);
  set(env, result, "pid", number(env, peer.pid));
  set(env, result, "uid", number(env, peer.uid));
  set(env, result, "gid", number(env, peer.gid));
  return result;
}

void defineFds(napi_env env, napi_value exports) {
  method(env, exports, "close", closeFd);
  method(env, exports, "dup", dupFd);
  method(env, exports, "memfd", memfd);
  method(env, exports, "readAll", readAll);
  method(env, exports, "seek", seek);
  method(env, exports, "flock", lock);
  method(env, exports, "mapReadOnly", mapReadOnly);
  method(env, exports, "eventfd", eventfdMake);
  method(env, exports, "eventfdRead", eventfdRead);
  method(env, exports, "pipe", pipeMake);
  method(env, exports, "socketPair", socketPairMake);
  method(env, exports, "peerCredentials", peerCredentials);
  method(env, exports, "setWindowSize", setWindowSize);
  method(env, exports, "fallocatePunchHole", punchHole);
}

} // namespace muster
