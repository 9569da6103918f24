// The ranks' PMI sockets, peeked: SO_PEEK_OFF moves with every peek, so each byte is seen once while it stays in the socket
// until rank-init consumes it. An epoll descriptor of its own (edge triggered, since the data stays) is watched by the loop;
// one callback a turn carries all that came. It does not know PMI.
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <unordered_map>
#include <vector>

#include "call.h"
#include "functions.h"
#include "instance.h"

namespace muster {

namespace {

constexpr int kEventsPerTurn = 256;
constexpr size_t kPeekBytes = 16384;
constexpr size_t kBatchBytes = 1u << 20;
constexpr uint32_t kClosed = 0xffffffffu;

class PmiPoller : public Object {
public:
  using Object::Object;
  ~PmiPoller() override { PmiPoller::shutdown(); }
  void shutdown() override {
    for (auto &entry : sockets_) ::close(entry.second);
    sockets_.clear();
    if (poll_) poll_->close();
    poll_ = nullptr;
  }

  bool start(int *error) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
      *error = errno;
      return false;
    }
    poll_ = Poll::open(
        instance, fd, UV_READABLE, this, [](void *owner, int, int) { static_cast<PmiPoller *>(owner)->ready(); }, error);
    if (!poll_) ::close(fd);
    return poll_ != nullptr;
  }

  // Takes `fd` when it succeeds. 0 or an errno.
  int add(uint32_t key, int fd) {
    if (!poll_) return EBADF;
    if (sockets_.count(key)) return EEXIST;
    int start = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &start, sizeof start) != 0) return errno;
    struct epoll_event event = {};
    event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
    event.data.u32 = key;
    if (epoll_ctl(poll_->fd(), EPOLL_CTL_ADD, fd, &event) != 0) return errno;
    sockets_[key] = fd;
    return 0;
  }

  void remove(uint32_t key) {
    auto found = sockets_.find(key);
    if (found == sockets_.end()) return;
    // Explicitly: others hold the same socket, closing our descriptor would not take it out.
    if (poll_) epoll_ctl(poll_->fd(), EPOLL_CTL_DEL, found->second, nullptr);
    ::close(found->second);
    sockets_.erase(found);
  }

private:
  void record(uint32_t key, uint32_t length) {
    const uint32_t header[2] = {key, length};
    const auto *bytes = reinterpret_cast<const uint8_t *>(header);
    batch_.insert(batch_.end(), bytes, bytes + sizeof header);
  }

  void ready() {
    struct epoll_event events[kEventsPerTurn];
    int count = epoll_wait(poll_->fd(), events, kEventsPerTurn, 0);
    batch_.clear();
    for (int i = 0; i < count; i++) peek(events[i].data.u32, events[i].events);
    if (batch_.empty()) return;
    napi_value buffer = nullptr;
    napi_create_buffer_copy(env(), batch_.size(), batch_.data(), nullptr, &buffer);
    emit("onData", 1, &buffer);
  }

  void peek(uint32_t key, uint32_t happened) {
    auto found = sockets_.find(key);
    if (found == sockets_.end()) return;
    int fd = found->second;
    for (;;) {
      if (batch_.size() >= kBatchBytes) return again(key, fd);
      size_t start = batch_.size();
      record(key, 0);
      batch_.resize(start + 8 + kPeekBytes);
      ssize_t length = recv(fd, batch_.data() + start + 8, kPeekBytes, MSG_PEEK | MSG_DONTWAIT);
      if (length > 0) {
        auto real = static_cast<uint32_t>(length);
        memcpy(batch_.data() + start + 4, &real, sizeof real);
        size_t padded = (static_cast<size_t>(length) + 3) & ~static_cast<size_t>(3);
        memset(batch_.data() + start + 8 + length, 0, padded - static_cast<size_t>(length));
        batch_.resize(start + 8 + padded);
        // A short peek took all there was; what comes later is a new edge.
        if (static_cast<size_t>(length) < kPeekBytes && !(happened & (EPOLLHUP | EPOLLRDHUP))) return;
        continue;
      }
      int error = length < 0 ? errno : 0;
      batch_.resize(start);
      if (error == EINTR) continue;
      if (error == EAGAIN) return;
      record(key, kClosed);
      epoll_ctl(poll_->fd(), EPOLL_CTL_DEL, fd, nullptr);
      return;
    }
  }

  // Raises the edge once more, for the next turn.
  void again(uint32_t key, int fd) {
    struct epoll_event event = {};
    event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
    event.data.u32 = key;
    epoll_ctl(poll_->fd(), EPOLL_CTL_MOD, fd, &event);
  }

  Poll *poll_ = nullptr;
  std::unordered_map<uint32_t, int> sockets_;
  std::vector<uint8_t> batch_;
};

napi_value pmiPoller(napi_env env, napi_callback_info) {
  auto *poller = new PmiPoller(Instance::of(env));
  napi_value result = Object::wrap(kPmiPoller, poller);
  if (!result) return nullptr;
  int error = 0;
  if (!poller->start(&error)) return throwErrno(env, "epoll_create1", error);
  set(env, result, "onData", null(env));
  poller->hold();
  return result;
}

napi_value add(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *poller = Object::from<PmiPoller>(env, call.self);
  uint32_t key;
  int fd;
  if (!poller || !call.unsignedInteger(0, "key", &key) || !call.integer(1, "fd", &fd)) return nullptr;
  int error = poller->add(key, fd);
  return error ? throwErrno(env, "add", error) : undefined(env);
}

napi_value remove(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *poller = Object::from<PmiPoller>(env, call.self);
  uint32_t key;
  if (!poller || !call.unsignedInteger(0, "key", &key)) return nullptr;
  poller->remove(key);
  return undefined(env);
}

napi_value closePoller(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *poller = Object::from<PmiPoller>(env, call.self);
  if (!poller) return nullptr;
  poller->shutdown();
  poller->release();
  return undefined(env);
}

} // namespace

void definePmiPoller(napi_env env, napi_value exports) {
  static const Method methods[] = {{"add", add}, {"remove", remove}, {"close", closePoller}};
  defineClass(Instance::of(env), kPmiPoller, "PmiPoller", methods, 3);
  method(env, exports, "pmiPoller", pmiPoller);
}

} // namespace muster
