// The thread that delivers input: from a spool file into a rank's pipe by splice(2) from the spool description's own position.
// rank-init holds the same description, so position and bytes survive this process together: killed at any instruction, the
// next one goes on at the right byte. A terminal's master is read and written instead, at best effort. It never delivers
// beyond what advance() allowed and never waits for a rank that does not read.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "functions.h"
#include "pump-thread.h"

namespace muster {

namespace {

constexpr uint64_t kSpliceBytes = 1u << 20;
constexpr size_t kTerminalBytes = 4096;
constexpr char kEndOfInput = 4; // ^D

struct Input {
  uint32_t id;
  int spool;
  int pipe; // -1 once closed
  bool isPipe;
  uint64_t position;
  uint64_t allowed;
  bool end = false;
  bool busy = false;
  bool polled = false;
  int error = 0;
  ~Input() {
    close(spool);
    if (pipe >= 0) close(pipe);
  }
};

class InputPump : public PumpThread {
public:
  using PumpThread::PumpThread;
  ~InputPump() override { shutdown(); }

  // Takes both descriptors when it succeeds. 0 or an errno.
  int add(uint32_t id, int spool, int pipe) {
    struct stat status;
    off_t position = lseek(spool, 0, SEEK_CUR);
    if (position < 0 || fstat(pipe, &status) != 0) return errno;
    Lock lock(mutex_);
    if (inputs_.count(id)) return EEXIST;
    bool isPipe = S_ISFIFO(status.st_mode);
    // A pipe is spliced without waiting whatever its flags; a terminal has to be told.
    if (!isPipe) fcntl(pipe, F_SETFL, fcntl(pipe, F_GETFL) | O_NONBLOCK);
    auto start = static_cast<uint64_t>(position);
    inputs_[id].reset(new Input{id, spool, pipe, isPipe, start, start});
    return 0;
  }

  int advance(uint32_t id, uint64_t length, bool end) {
    Lock lock(mutex_);
    auto found = inputs_.find(id);
    if (found == inputs_.end()) return ENOENT;
    Input *input = found->second.get();
    input->allowed = std::max(input->allowed, length);
    input->end = input->end || end;
    if (!input->busy) poll(input);
    return 0;
  }

  bool remove(uint32_t id, uint64_t *position) {
    Lock lock(mutex_);
    for (;;) {
      auto found = inputs_.find(id);
      if (found == inputs_.end()) return false;
      if (found->second->busy) {
        idle_.wait(lock);
        continue;
      }
      *position = found->second->position;
      if (found->second->polled) control(EPOLL_CTL_DEL, found->second->pipe, 0, 0);
      inputs_.erase(found);
      forget(id);
      return true;
    }
  }

protected:
  void turn(const struct epoll_event *events, int count) override {
    for (int i = 0; i < count; i++) deliverTo(static_cast<uint32_t>(events[i].data.u64), events[i].events);
  }
  uint64_t dueNs() override { return 0; }
  void closeAll() override { inputs_.clear(); }

private:
  static bool wants(const Input *input) {
    return input->pipe >= 0 && input->error == 0 && (input->position < input->allowed || input->end);
  }

  // In the epoll set only while there is something to do: a reader that has gone would be reported without end.
  void poll(Input *input) {
    bool wanted = wants(input);
    if (wanted == input->polled) return;
    int error = control(wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, input->pipe, EPOLLOUT, input->id);
    if (!error) input->polled = wanted;
  }

  void deliverTo(uint32_t id, uint32_t happened) {
    Input *input;
    uint64_t allowed;
    bool end;
    {
      Lock lock(mutex_);
      auto found = inputs_.find(id);
      if (found == inputs_.end() || !wants(found->second.get())) return;
      input = found->second.get();
      input->busy = true;
      allowed = input->allowed;
      end = input->end;
    }
    int error = 0;
    uint64_t before = input->position;
    uint64_t position = before;
    if (position < allowed) error = input->isPipe ? splice(input, allowed, &position) : copy(input, allowed, &position);
    if (error == 0 && position == before && (happened & EPOLLERR)) error = EPIPE;
    bool all = error == 0 && end && position >= allowed;
    if (all && !input->isPipe) {
      ssize_t ignored = write(input->pipe, &kEndOfInput, 1);
      (void)ignored;
    }
    Lock lock(mutex_);
    input->busy = false;
    input->position = position;
    input->error = error;
    all = all && position >= input->allowed;
    poll(input);
    if (all || error) {
      if (input->polled) control(EPOLL_CTL_DEL, input->pipe, 0, 0);
      input->polled = false;
      close(input->pipe);
      input->pipe = -1;
    }
    if (all || error || position != before) {
      uint32_t flags = (all ? kProgressEnd : 0u) | (error ? kProgressError : 0u);
      report({id, flags, position, error, 0}, flags != 0);
    }
    idle_.notify_all();
  }

  static int splice(const Input *input, uint64_t allowed, uint64_t *position) {
    for (;;) {
      ssize_t count =
          ::splice(input->spool, nullptr, input->pipe, nullptr, std::min(allowed - *position, kSpliceBytes), SPLICE_F_NONBLOCK);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return errno == EAGAIN ? 0 : errno;
      // The spool is shorter than was said.
      if (count == 0) return ENODATA;
      *position += static_cast<uint64_t>(count);
      return 0;
    }
  }

  static int copy(const Input *input, uint64_t allowed, uint64_t *position) {
    char bytes[kTerminalBytes];
    ssize_t got =
        pread(input->spool, bytes, std::min<uint64_t>(sizeof bytes, allowed - *position), static_cast<off_t>(*position));
    if (got < 0) return errno == EINTR ? 0 : errno;
    if (got == 0) return ENODATA;
    ssize_t put = write(input->pipe, bytes, static_cast<size_t>(got));
    if (put < 0) return errno == EAGAIN || errno == EINTR ? 0 : errno;
    *position += static_cast<uint64_t>(put);
    return lseek(input->spool, static_cast<off_t>(*position), SEEK_SET) < 0 ? errno : 0;
  }

  std::unordered_map<uint32_t, std::unique_ptr<Input>> inputs_;
};

napi_value inputPump(napi_env env, napi_callback_info) {
  auto *pump = new InputPump(Instance::of(env));
  napi_value result = Object::wrap(kInputPump, pump);
  if (!result) return nullptr;
  int error = pump->start();
  if (error) return throwErrno(env, "inputPump", error);
  set(env, result, "onProgress", null(env));
  pump->hold();
  return result;
}

napi_value add(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *pump = Object::from<InputPump>(env, call.self);
  uint32_t id;
  int spool, pipe;
  if (!pump || !call.unsignedInteger(0, "id", &id) || !call.integer(1, "spoolFd", &spool) || !call.integer(2, "pipeFd", &pipe))
    return nullptr;
  int error = pump->add(id, spool, pipe);
  return error ? throwErrno(env, "add", error) : undefined(env);
}

napi_value advance(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *pump = Object::from<InputPump>(env, call.self);
  uint32_t id;
  uint64_t length;
  bool end;
  if (!pump || !call.unsignedInteger(0, "id", &id) || !call.bigint(1, "length", &length) || !call.flag(2, "end", &end))
    return nullptr;
  int error = pump->advance(id, length, end);
  return error ? throwErrno(env, "advance", error) : undefined(env);
}

napi_value remove(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *pump = Object::from<InputPump>(env, call.self);
  uint32_t id;
  uint64_t position = 0;
  if (!pump || !call.unsignedInteger(0, "id", &id)) return nullptr;
  return pump->remove(id, &position) ? big(env, position) : null(env);
}

napi_value closePump(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *pump = Object::from<InputPump>(env, call.self);
  if (!pump) return nullptr;
  pump->shutdown();
  pump->release();
  return undefined(env);
}

} // namespace

void defineInputPump(napi_env env, napi_value exports) {
  static const Method methods[] = {{"add", add}, {"advance", advance}, {"remove", remove}, {"close", closePump}};
  defineClass(Instance::of(env), kInputPump, "InputPump", methods, 4);
  method(env, exports, "inputPump", inputPump);
}

} // namespace muster
