// The thread that spools output, and its JavaScript face. Each ready pipe gets a turn of at most 256 KiB. After a round in which
// little came from busy writers it rests for a moment, so that many small writes become one splice. Such a writer is looked at
// after each rest instead of being waited for: a pipe in an epoll set makes every write to it wake the waiter. A stream whose
// file cannot be written is left alone and tried again ten times a second; its rank blocks once its pipe is full.
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>

#include "functions.h"
#include "pump-thread.h"
#include "segment-writer.h"
#include "subscriptions.h"

namespace muster {

namespace {

constexpr uint64_t kRetryNs = 100000000;
constexpr uint64_t kComplainNs = 1000000000;
constexpr uint64_t kTellNs = 1000000;
constexpr int kBusyPipeBytes = 1 << 18; // a larger one no longer fits the cache of a core
constexpr int kMostBusyPipes = 256;
constexpr uint64_t kBusyBytes = 32768;      // in one turn: this writer fills its pipe
constexpr uint64_t kRestBelowBytes = 49152; // a pipe, on average
constexpr uint64_t kRestIfWithinNs = 1000000;
constexpr long kRestNs = 100000;
constexpr uint64_t kSweepIfWithinNs = 500000;
constexpr int kEmptySweeps = 5;
constexpr size_t kMostStreams = 1u << 20;
constexpr uint64_t kStreamTag = 1ull << 32;
constexpr uint64_t kSubscriptionTag = 2ull << 32;

struct Stream {
  Stream(uint32_t id, int fd, const std::string &prefix, uint64_t length, uint64_t segmentBytes)
      : id(id), writer(fd, prefix, length, segmentBytes), length(length) {}
  uint32_t id;
  SegmentWriter writer;
  uint64_t length; // as of the last turn; the writer's own is the thread's while busy
  bool busy = false;
  uint64_t limit = UINT64_MAX; // nothing is moved beyond it
  bool ended = false;
  bool polled = false;
  bool enlarged = false;
  bool swept = false; // looked at after each rest, not in the epoll set
  int emptySweeps = 0;
  uint64_t movedNs = 0;
  int error = 0;
  uint64_t retryNs = 0;
  uint64_t complainNs = 0;
  std::vector<uint32_t> subscriptions;
  bool full() const { return length >= limit; }
};

class OutputPump : public PumpThread {
public:
  using PumpThread::PumpThread;
  ~OutputPump() override { shutdown(); }

  // Takes `fd` when it succeeds. 0 or an errno.
  int add(uint32_t id, int fd, const std::string &prefix, uint64_t offset, uint64_t segmentBytes, uint64_t limit) {
    Lock lock(mutex_);
    if (streams_.count(id)) return EEXIST;
    int error = control(EPOLL_CTL_ADD, fd, EPOLLIN, kStreamTag | id);
    if (error) return error;
    auto stream = std::make_unique<Stream>(id, fd, prefix, offset, segmentBytes);
    stream->polled = true;
    stream->limit = limit;
    poll(stream.get());
    for (auto &entry : subscriptions_)
      if (entry.second.ids.count(id)) stream->subscriptions.push_back(entry.first);
    streams_[id] = std::move(stream);
    return 0;
  }

  int limit(uint32_t id, uint64_t offset) {
    Lock lock(mutex_);
    Stream *stream = idle(lock, id);
    if (!stream) return ENOENT;
    stream->limit = offset;
    poll(stream);
    return 0;
  }

  bool remove(uint32_t id, uint64_t *length) {
    Lock lock(mutex_);
    Stream *stream = idle(lock, id);
    if (!stream) return false;
    stream->limit = 0;
    stream->swept = false;
    poll(stream);
    *length = stream->length;
    if (stream->enlarged) enlarged_--;
    streams_.erase(id);
    PumpThread::forget(id);
    return true;
  }

  // 0 or an errno.
  int subscribe(int fd, const uint32_t *ids, size_t count, uint32_t *number) {
    Lock lock(mutex_);
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return errno;
    *number = nextSubscription_++;
    Subscription &subscription = subscriptions_[*number];
    subscription.fd = copy;
    subscription.urgent = true;
    subscription.ids.insert(ids, ids + count);
    for (uint32_t id : subscription.ids) {
      auto found = streams_.find(id);
      if (found == streams_.end()) continue;
      found->second->subscriptions.push_back(*number);
      if (found->second->length > 0 || found->second->ended) subscription.dirty[id] = growthOf(*found->second);
    }
    nudge();
    return 0;
  }

  void unsubscribe(uint32_t number) {
    Lock lock(mutex_);
    drop(number);
  }

protected:
  void turn(const struct epoll_event *events, int count) override {
    uint64_t bytes = 0;
    uint64_t pipes = 0;
    for (uint32_t id : std::vector<uint32_t>(sweeping_.begin(), sweeping_.end())) {
      bytes += moveOnce(id);
      pipes++;
    }
    for (int i = 0; i < count; i++) {
      auto id = static_cast<uint32_t>(events[i].data.u64);
      if (events[i].data.u64 & kSubscriptionTag) {
        roomFor(id);
        continue;
      }
      bytes += moveOnce(id);
      pipes++;
    }
    retry();
    tellSubscribers();
    uint64_t now = nowNs();
    if (!sweeping_.empty()) {
      if (bytes < kRestBelowBytes * pipes) rest();
      lastBytesNs_ = dueNs_ = nowNs();
    } else if (bytes > 0) {
      // Not after the first bytes for a while: a prompt is shown at once.
      if (bytes < kRestBelowBytes * pipes && now - lastBytesNs_ < kRestIfWithinNs) {
        rest();
        now = nowNs();
      }
      lastBytesNs_ = now;
    }
  }

  uint64_t dueNs() override { return dueNs_; }

  void closeAll() override {
    streams_.clear();
    while (!subscriptions_.empty()) drop(subscriptions_.begin()->first);
  }

private:
  static void rest() {
    const struct timespec moment = {0, kRestNs};
    nanosleep(&moment, nullptr);
  }

  Stream *idle(Lock &lock, uint32_t id) {
    for (;;) {
      auto found = streams_.find(id);
      if (found == streams_.end()) return nullptr;
      if (!found->second->busy) return found->second.get();
      idle_.wait(lock);
    }
  }

  static Growth growthOf(const Stream &stream) { return {stream.id, stream.ended ? 1u : 0u, stream.length}; }

  // Brings the epoll set in line with the stream's state. A stream that nobody wants to read is taken out altogether: a
  // hang-up would be reported without end.
  void poll(Stream *stream) {
    bool wanted = !stream->full() && !stream->ended && stream->error == 0 && !stream->swept;
    if (wanted == stream->polled) return;
    control(wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, stream->writer.fd(), EPOLLIN, kStreamTag | stream->id);
    stream->polled = wanted;
  }

  uint64_t moveOnce(uint32_t id) {
    Stream *stream;
    bool mayEnlarge;
    uint64_t most;
    {
      Lock lock(mutex_);
      auto found = streams_.find(id);
      stream = found == streams_.end() ? nullptr : found->second.get();
      if (!stream || stream->full() || stream->ended) {
        sweeping_.erase(id);
        if (stream) stream->swept = false;
        return 0;
      }
      stream->busy = true;
      most = stream->limit - stream->length;
      mayEnlarge = !stream->enlarged && stream->writer.isPipe() && enlarged_ < kMostBusyPipes;
    }
    Moved moved = stream->writer.move(most);
    bool enlarged = mayEnlarge && moved.bytes >= kBusyBytes && fcntl(stream->writer.fd(), F_SETPIPE_SZ, kBusyPipeBytes) >= 0;
    Lock lock(mutex_);
    stream->busy = false;
    if (enlarged) {
      stream->enlarged = true;
      enlarged_++;
    }
    settle(stream, moved);
    idle_.notify_all();
    return moved.bytes;
  }

  void settle(Stream *stream, const Moved &moved) {
    uint64_t now = moved.error ? nowNs() : 0;
    bool complain = moved.error && now >= stream->complainNs;
    if (moved.error && stream->error == 0) blocked_.push_back(stream->id);
    stream->error = moved.error;
    stream->retryNs = now + kRetryNs;
    if (complain) stream->complainNs = now + kComplainNs;
    stream->ended = moved.ended;
    stream->length = stream->writer.length();
    sweep(stream, moved);
    poll(stream);
    if (!moved.bytes && !moved.ended && !complain) return;
    uint32_t flags = (moved.ended ? kProgressEnd : 0u) | (complain ? kProgressError : 0u);
    for (uint32_t number : stream->subscriptions) {
      Subscription &subscription = subscriptions_[number];
      subscription.dirty[stream->id] = growthOf(*stream);
      if (moved.ended) subscription.urgent = true;
    }
    report({stream->id, flags, stream->length, complain ? moved.error : 0, 0}, flags != 0);
  }

  // A busy writer of small pieces is swept until nothing comes for a few rests.
  void sweep(Stream *stream, const Moved &moved) {
    if (moved.bytes > 0) {
      uint64_t now = nowNs();
      bool small = moved.bytes < kRestBelowBytes && now - stream->movedNs < kSweepIfWithinNs;
      stream->swept = stream->swept || (small && stream->writer.isPipe());
      stream->emptySweeps = 0;
      stream->movedNs = now;
    } else if (++stream->emptySweeps >= kEmptySweeps) {
      stream->swept = false;
    }
    if (moved.ended || moved.error || stream->full()) stream->swept = false;
    if (stream->swept) sweeping_.insert(stream->id);
    else sweeping_.erase(stream->id);
  }

  void retry() {
    dueNs_ = 0;
    if (blocked_.empty()) return;
    std::vector<uint32_t> tried;
    {
      Lock lock(mutex_);
      tried.swap(blocked_);
    }
    uint64_t now = nowNs();
    for (uint32_t id : tried) {
      {
        Lock lock(mutex_);
        auto found = streams_.find(id);
        if (found == streams_.end() || found->second->error == 0) continue;
        Stream *stream = found->second.get();
        if (now < stream->retryNs || stream->full()) {
          blocked_.push_back(id);
          uint64_t due = stream->full() ? now + kRetryNs : stream->retryNs;
          dueNs_ = dueNs_ == 0 ? due : std::min(dueNs_, due);
          continue;
        }
        stream->error = 0;
      }
      moveOnce(id);
      Lock lock(mutex_);
      auto found = streams_.find(id);
      if (found != streams_.end() && found->second->error != 0) {
        uint64_t due = found->second->retryNs;
        dueNs_ = dueNs_ == 0 ? due : std::min(dueNs_, due);
      }
    }
  }

  void tellSubscribers() {
    Lock lock(mutex_);
    uint64_t now = nowNs();
    std::vector<uint32_t> gone;
    for (auto &entry : subscriptions_) {
      Subscription &subscription = entry.second;
      if (subscription.waiting || subscription.dirty.empty()) continue;
      uint64_t due = subscription.lastNs + kTellNs;
      if (!subscription.urgent && now < due) {
        dueNs_ = dueNs_ == 0 ? due : std::min(dueNs_, due);
        continue;
      }
      subscription.lastNs = now;
      Told told = tell(&subscription);
      if (told == Told::kGone) gone.push_back(entry.first);
      if (told != Told::kFull) continue;
      subscription.waiting = true;
      if (control(EPOLL_CTL_ADD, subscription.fd, EPOLLOUT, kSubscriptionTag | entry.first) != 0) gone.push_back(entry.first);
    }
    for (uint32_t number : gone) drop(number);
  }

  void roomFor(uint32_t number) {
    Lock lock(mutex_);
    auto found = subscriptions_.find(number);
    if (found == subscriptions_.end() || !found->second.waiting) return;
    found->second.waiting = false;
    found->second.urgent = true;
    control(EPOLL_CTL_DEL, found->second.fd, 0, 0);
  }

  void drop(uint32_t number) {
    auto found = subscriptions_.find(number);
    if (found == subscriptions_.end()) return;
    if (found->second.waiting) control(EPOLL_CTL_DEL, found->second.fd, 0, 0);
    close(found->second.fd);
    for (uint32_t id : found->second.ids) {
      auto stream = streams_.find(id);
      if (stream == streams_.end()) continue;
      auto &of = stream->second->subscriptions;
      of.erase(std::remove(of.begin(), of.end(), number), of.end());
    }
    subscriptions_.erase(found);
  }

  std::unordered_map<uint32_t, std::unique_ptr<Stream>> streams_;
  std::unordered_map<uint32_t, Subscription> subscriptions_;
  std::vector<uint32_t> blocked_;
  std::unordered_set<uint32_t> sweeping_; // the thread's own
  uint32_t nextSubscription_ = 1;
  int enlarged_ = 0;
  uint64_t dueNs_ = 0;
  uint64_t lastBytesNs_ = 0;
};

napi_value outputPump(napi_env env, napi_callback_info) {
  auto *pump = new OutputPump(Instance::of(env));
  napi_value result = Object::wrap(kOutputPump, pump);
  if (!result) return nullptr;
  int error = pump->start();
  if (error) return throwErrno(env, "outputPump", error);
  set(env, result, "onProgress", null(env));
  pump->hold();
  return result;
}

napi_value add(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *pump = Object::from<OutputPump>(env, call.self);
  uint32_t id;
  int fd;
  std::string directory, name;
  uint64_t offset, segmentBytes = 0;
  if (!pump || !call.unsignedInteger(0, "id", &id) || !call.integer(1, "fd", &fd) || !call.string(2, "directory", &directory) ||
      !call.string(3, "name", &name) || !call.bigint(4, "offset", &offset))
    return nullptr;
  uint32_t small;
  uint64_t limit = UINT64_MAX;
  if (!call.unsignedInteger(5, "segmentBytes", &small)) return nullptr;
  if (!call.isAbsent(6) && !call.bigint(6, "limit", &limit)) return nullptr;
  segmentBytes = small;
  if (segmentBytes == 0 || name.empty() || name.find('/') != std::string::npos) return throwErrno(env, "add", EINVAL);
  int error = pump->add(id, fd, directory + "/" + name, offset, segmentBytes, limit);
  return error ? throwErrno(env, "add", error) : undefined(env);
}

napi_value limit(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *pump = Object::from<OutputPump>(env, call.self);
  uint32_t id;
  uint64_t offset;
  if (!pump || !call.unsignedInteger(0, "id", &id) || !call.bigint(1, "offset", &offset)) return nullptr;
  int error = pump->limit(id, offset);
  return error ? throwErrno(env, "limit", error) : undefined(env);
}

napi_value remove(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *pump = Object::from<OutputPump>(env, call.self);
  uint32_t id;
  uint64_t length = 0;
  if (!pump || !call.unsignedInteger(0, "id", &id)) return nullptr;
  return pump->remove(id, &length) ? big(env, length) : null(env);
}

napi_value subscribe(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *pump = Object::from<OutputPump>(env, call.self);
  int fd;
  if (!pump || !call.integer(0, "socketFd", &fd)) return nullptr;
  uint32_t length = 0, number_ = 0;
  bool is = false;
  if (call.at(1)) napi_is_array(env, call.at(1), &is);
  if (is) napi_get_array_length(env, call.at(1), &length);
  std::vector<uint32_t> ids(std::min<size_t>(length, kMostStreams));
  size_t count = 0;
  if (!numbers(env, call.at(1), "ids", kMostStreams, ids.data(), &count)) return nullptr;
  int error = pump->subscribe(fd, ids.data(), count, &number_);
  return error ? throwErrno(env, "subscribe", error) : number(env, number_);
}

napi_value unsubscribe(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *pump = Object::from<OutputPump>(env, call.self);
  uint32_t number_;
  if (!pump || !call.unsignedInteger(0, "subscription", &number_)) return nullptr;
  pump->unsubscribe(number_);
  return undefined(env);
}

napi_value closePump(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *pump = Object::from<OutputPump>(env, call.self);
  if (!pump) return nullptr;
  pump->shutdown();
  pump->release();
  return undefined(env);
}

} // namespace

void defineOutputPump(napi_env env, napi_value exports) {
  static const Method methods[] = {
      {"add", add},        {"limit", limit}, {"remove", remove}, {"subscribe", subscribe}, {"unsubscribe", unsubscribe},
      {"close", closePump}};
  defineClass(Instance::of(env), kOutputPump, "OutputPump", methods, 6);
  method(env, exports, "outputPump", outputPump);
}

} // namespace muster
