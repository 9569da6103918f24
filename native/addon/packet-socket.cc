// SOCK_SEQPACKET unix sockets on the loop: packets with descriptors, in both directions, and the server that accepts them.
// It reads at most a batch a turn, so that one busy peer cannot keep the loop; what does not fit the peer's queue is refused
// (send is false), never kept here. It does not know what the packets say.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <memory>

#include "call.h"
#include "functions.h"
#include "instance.h"

namespace muster {

namespace {

constexpr int kQueueBytes = 1 << 20;        // asked for; the kernel doubles it for its own overhead
constexpr size_t kLargestPacket = 4u << 20; // only touched as far as packets are long
constexpr size_t kMostDescriptors = 253;    // SCM_MAX_FD
constexpr int kPacketsPerTurn = 64;

void enlargeQueue(int fd) {
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &kQueueBytes, sizeof kQueueBytes) != 0)
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kQueueBytes, sizeof kQueueBytes);
}

uint8_t *packetSpace() {
  thread_local std::unique_ptr<uint8_t[]> space(new uint8_t[kLargestPacket]);
  return space.get();
}

// A socket address for paths of any length: long ones go through a descriptor of their directory.
class Address {
public:
  ~Address() {
    if (directory_ >= 0) close(directory_);
  }
  // 0 or an errno.
  int set(const std::string &path) {
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    std::string name = path;
    if (name.empty()) return EINVAL;
    if (name.size() >= sizeof address.sun_path) {
      size_t slash = name.rfind('/');
      if (slash == std::string::npos) return ENAMETOOLONG;
      directory_ = open(name.substr(0, slash + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
      if (directory_ < 0) return errno;
      name = "/proc/self/fd/" + std::to_string(directory_) + name.substr(slash);
      if (name.size() >= sizeof address.sun_path) return ENAMETOOLONG;
    }
    memcpy(address.sun_path, name.c_str(), name.size() + 1);
    return 0;
  }
  struct sockaddr_un address;
  const struct sockaddr *get() const { return reinterpret_cast<const struct sockaddr *>(&address); }

private:
  int directory_ = -1;
};

class PacketSocket : public Object {
public:
  using Object::Object;
  ~PacketSocket() override { PacketSocket::shutdown(); }
  void shutdown() override {
    if (poll_) poll_->close();
    poll_ = nullptr;
  }

  int fd() const { return poll_ ? poll_->fd() : -1; }
  bool start(int fd, int *error) {
    poll_ = Poll::open(
        instance, fd, UV_READABLE, this,
        [](void *owner, int status, int events) { static_cast<PacketSocket *>(owner)->ready(status, events); }, error);
    return poll_ != nullptr;
  }

  // 1 sent, 0 the queue is full, else -errno.
  int send(const uint8_t *bytes, size_t length, const uint32_t *fds, size_t count) {
    struct iovec part = {const_cast<uint8_t *>(bytes), length};
    struct msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMostDescriptors)];
    if (count > 0) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
      struct cmsghdr *header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int) * count);
      memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
    }
    for (;;) {
      if (sendmsg(fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return 1;
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return -errno;
      poll_->listen(UV_READABLE | UV_WRITABLE);
      return 0;
    }
  }

private:
  void ready(int status, int events) {
    napi_value self = value(); // keeps it while JavaScript runs
    (void)self;
    if (status != 0) return lost(-status);
    if (events & UV_READABLE) {
      for (int i = 0; i < kPacketsPerTurn && poll_; i++)
        if (!receive()) break;
    }
    if (poll_ && (events & UV_WRITABLE)) {
      poll_->listen(UV_READABLE);
      emit("onDrain", 0, nullptr);
    }
  }

  bool receive() {
    struct iovec part = {packetSpace(), kLargestPacket};
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMostDescriptors)];
    struct msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t length;
    do length = recvmsg(fd(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (length < 0 && errno == EINTR);
    if (length < 0) {
      if (errno != EAGAIN) lost(errno == ECONNRESET ? 0 : errno);
      return false;
    }
    int fds[kMostDescriptors];
    size_t count = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < here; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
        if (count < kMostDescriptors) fds[count++] = fd;
        else close(fd);
      }
    }
    int trouble = message.msg_flags & MSG_CTRUNC ? EMFILE : message.msg_flags & MSG_TRUNC ? EMSGSIZE : 0;
    if (trouble || (length == 0 && count == 0)) {
      for (size_t i = 0; i < count; i++) close(fds[i]);
      lost(trouble);
      return false;
    }
    deliver(static_cast<size_t>(length), fds, count);
    return true;
  }

  void deliver(size_t length, const int *fds, size_t count) {
    napi_handle_scope scope = nullptr;
    napi_open_handle_scope(env(), &scope);
    napi_value handler = nullptr;
    napi_valuetype type = napi_undefined;
    napi_get_named_property(env(), value(), "onPacket", &handler);
    napi_typeof(env(), handler, &type);
    if (type != napi_function) {
      for (size_t i = 0; i < count; i++) close(fds[i]);
    } else {
      napi_value packet = nullptr, bytes = nullptr, list = nullptr;
      napi_create_object(env(), &packet);
      napi_create_buffer_copy(env(), length, packetSpace(), nullptr, &bytes);
      napi_create_array_with_length(env(), count, &list);
      for (size_t i = 0; i < count; i++) napi_set_element(env(), list, static_cast<uint32_t>(i), number(env(), fds[i]));
      set(env(), packet, "bytes", bytes);
      set(env(), packet, "fds", list);
      emit("onPacket", 1, &packet);
    }
    napi_close_handle_scope(env(), scope);
  }

  // The peer has gone (0) or the socket broke: it is closed, then said.
  void lost(int error) {
    shutdown();
    napi_value argument = error ? errnoError(env(), "recvmsg", error) : null(env());
    emit("onClose", 1, &argument);
    release();
  }

  Poll *poll_ = nullptr;
};

// Takes `fd`, also when it throws.
napi_value socketOf(Instance *instance, int fd) {
  napi_env env = instance->env;
  auto *socket = new PacketSocket(instance);
  napi_value result = Object::wrap(kPacketSocket, socket);
  if (!result) {
    close(fd);
    return nullptr;
  }
  int error = 0;
  enlargeQueue(fd);
  if (!socket->start(fd, &error)) {
    close(fd);
    return throwErrno(env, "poll", error);
  }
  set(env, result, "onPacket", null(env));
  set(env, result, "onDrain", null(env));
  set(env, result, "onClose", null(env));
  set(env, result, "fd", number(env, fd));
  socket->hold();
  return result;
}

class PacketServer : public Object {
public:
  using Object::Object;
  ~PacketServer() override { PacketServer::shutdown(); }
  void shutdown() override {
    if (poll_) poll_->close();
    poll_ = nullptr;
  }
  bool start(int fd, int *error) {
    poll_ = Poll::open(
        instance, fd, UV_READABLE, this, [](void *owner, int, int) { static_cast<PacketServer *>(owner)->accept(); }, error);
    return poll_ != nullptr;
  }

private:
  void accept() {
    for (int i = 0; i < kPacketsPerTurn && poll_; i++) {
      int fd = accept4(poll_->fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
      // Out of descriptors: the others wait in the backlog until some are given back.
      if (fd < 0) return;
      napi_handle_scope scope = nullptr;
      napi_open_handle_scope(env(), &scope);
      napi_value socket = socketOf(instance, fd);
      if (socket) emit("onConnection", 1, &socket);
      else {
        napi_value ignored = nullptr;
        napi_get_and_clear_last_exception(env(), &ignored);
      }
      napi_close_handle_scope(env(), scope);
    }
  }
  Poll *poll_ = nullptr;
};

napi_value connectPacket(napi_env env, napi_callback_info info) {
  Call call(env, info);
  std::string path;
  if (!call.string(0, "path", &path)) return nullptr;
  Address address;
  int error = address.set(path);
  if (error) return throwErrno(env, "connect", error, path.c_str());
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return throwErrno(env, "socket", errno);
  if (connect(fd, address.get(), sizeof address.address) != 0) {
    error = errno;
    close(fd);
    return throwErrno(env, "connect", error, path.c_str());
  }
  return socketOf(Instance::of(env), fd);
}

napi_value packetSocket(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd;
  if (!call.integer(0, "fd", &fd)) return nullptr;
  int type = 0;
  socklen_t length = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) return throwErrno(env, "getsockopt", errno);
  if (type != SOCK_SEQPACKET) return throwErrno(env, "packetSocket", EPROTOTYPE);
  return socketOf(Instance::of(env), fd);
}

// Made under another name and renamed, so that nobody connects before the mode is right and a dead owner's socket is replaced.
napi_value listenPacket(napi_env env, napi_callback_info info) {
  Call call(env, info);
  std::string path;
  uint32_t mode;
  if (!call.string(0, "path", &path) || !call.unsignedInteger(1, "mode", &mode)) return nullptr;
  std::string making = path + "." + std::to_string(getpid());
  Address address;
  int error = address.set(making);
  if (error) return throwErrno(env, "bind", error, path.c_str());
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return throwErrno(env, "socket", errno);
  unlink(making.c_str());
  const char *failed = nullptr;
  if (bind(fd, address.get(), sizeof address.address) != 0) failed = "bind";
  else if (chmod(making.c_str(), mode & 0777) != 0) failed = "chmod";
  else if (listen(fd, 1024) != 0) failed = "listen";
  else if (rename(making.c_str(), path.c_str()) != 0) failed = "rename";
  if (failed) {
    error = errno;
    close(fd);
    unlink(making.c_str());
    return throwErrno(env, failed, error, path.c_str());
  }
  auto *server = new PacketServer(Instance::of(env));
  napi_value result = Object::wrap(kPacketServer, server);
  if (!result || !server->start(fd, &error)) {
    close(fd);
    return result ? throwErrno(env, "poll", error) : nullptr;
  }
  set(env, result, "onConnection", null(env));
  server->hold();
  return result;
}

napi_value send(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *socket = Object::from<PacketSocket>(env, call.self);
  const uint8_t *bytes;
  size_t length;
  if (!socket || !call.bytes(0, "bytes", &bytes, &length)) return nullptr;
  uint32_t fds[kMostDescriptors];
  size_t count = 0;
  if (!call.isAbsent(1) && !numbers(env, call.at(1), "fds", kMostDescriptors, fds, &count)) return nullptr;
  if (socket->fd() < 0) return throwErrno(env, "sendmsg", EPIPE);
  // An empty packet looks like the end to who receives it.
  if (length == 0) return throwErrno(env, "sendmsg", EINVAL);
  int result = socket->send(bytes, length, fds, count);
  return result < 0 ? throwErrno(env, "sendmsg", -result) : boolean(env, result == 1);
}

napi_value socketCredentials(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *socket = Object::from<PacketSocket>(env, call.self);
  return socket ? credentialsOf(env, socket->fd()) : nullptr;
}

napi_value closeObject(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *object = Object::from<Object>(env, call.self);
  if (!object) return nullptr;
  object->shutdown();
  object->release();
  return undefined(env);
}

} // namespace

void definePacketSocket(napi_env env, napi_value exports) {
  static const Method socketMethods[] = {{"send", send}, {"peerCredentials", socketCredentials}, {"close", closeObject}};
  static const Method serverMethods[] = {{"close", closeObject}};
  defineClass(Instance::of(env), kPacketSocket, "PacketSocket", socketMethods, 3);
  defineClass(Instance::of(env), kPacketServer, "PacketServer", serverMethods, 1);
  method(env, exports, "connectPacket", connectPacket);
  method(env, exports, "packetSocket", packetSocket);
  method(env, exports, "listenPacket", listenPacket);
}

} // namespace muster
