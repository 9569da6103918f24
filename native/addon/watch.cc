// A descriptor that is asked about: onReady on every turn of the loop while it is readable. For eventfds and pidfds. It
// watches a duplicate, so the caller may close his own whenever he likes; who reads the descriptor is not its business.
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "call.h"
#include "functions.h"
#include "instance.h"

namespace muster {

namespace {

class FdWatch : public Object {
public:
  using Object::Object;
  ~FdWatch() override { FdWatch::shutdown(); }
  void shutdown() override {
    if (poll_) poll_->close();
    poll_ = nullptr;
  }

  bool start(int fd, int *error) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) {
      *error = errno;
      return false;
    }
    poll_ = Poll::open(
        instance, copy, UV_READABLE, this,
        [](void *owner, int, int) { static_cast<FdWatch *>(owner)->emit("onReady", 0, nullptr); }, error);
    if (!poll_) ::close(copy);
    return poll_ != nullptr;
  }

private:
  Poll *poll_ = nullptr;
};

napi_value watch(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd;
  napi_value onReady;
  if (!call.integer(0, "fd", &fd) || !call.function(1, "onReady", &onReady)) return nullptr;
  auto *watch = new FdWatch(Instance::of(env));
  napi_value result = Object::wrap(kFdWatch, watch);
  if (!result) return nullptr;
  set(env, result, "onReady", onReady);
  int error = 0;
  if (!watch->start(fd, &error)) return throwErrno(env, "watch", error);
  watch->hold();
  return result;
}

napi_value stop(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *watch = Object::from<FdWatch>(env, call.self);
  if (!watch) return nullptr;
  watch->shutdown();
  watch->release();
  return undefined(env);
}

} // namespace

void defineWatch(napi_env env, napi_value exports) {
  static const Method methods[] = {{"stop", stop}};
  defineClass(Instance::of(env), kFdWatch, "FdWatch", methods, 1);
  method(env, exports, "watch", watch);
}

} // namespace muster
