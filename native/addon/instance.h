// What lives on the main loop: one Instance for each Node environment, the objects handed to JavaScript, and the handles of
// libuv below them. An object is kept alive by the loop from hold() to release(); its handles give themselves back after it
// has gone, also when the environment is torn down in the middle. It does not know what any object is for.
#ifndef MUSTER_ADDON_INSTANCE_H
#define MUSTER_ADDON_INSTANCE_H

#include <node_api.h>
#include <uv.h>

#include <unordered_set>

namespace muster {

class Object;

enum ObjectClass { kPacketSocket, kPacketServer, kFdWatch, kPmiPoller, kOutputPump, kInputPump, kLink, kObjectClasses };

struct Instance {
  napi_env env = nullptr;
  uv_loop_t *loop = nullptr;
  napi_ref classes[kObjectClasses] = {};
  Object *beingMade = nullptr;
  std::unordered_set<Object *> live;
  int handles = 0; // of libuv, until their close callback ran
  bool finalized = false;
  napi_async_cleanup_hook_handle cleanup = nullptr;

  static Instance *of(napi_env env);
  static Instance *create(napi_env env);
  void handleClosed();
};

// A native object behind a JavaScript one. Subclasses free what they hold in shutdown(), which may come more than once and
// from the collector, so it never calls JavaScript.
class Object {
public:
  explicit Object(Instance *instance) : instance(instance) { instance->live.insert(this); }
  virtual ~Object();
  virtual void shutdown() = 0;

  Instance *instance;
  napi_env env() const { return instance->env; }
  napi_value value() const;
  void hold();
  void release();
  // Calls this object's property `name` if it is a function. Exceptions go to 'uncaughtException'.
  void emit(const char *name, size_t count, napi_value *values);

  // Makes the JavaScript object, which owns `native` from here on; null (and `native` deleted) when that threw.
  static napi_value wrap(ObjectClass which, Object *native);
  template <typename T> static T *from(napi_env env, napi_value value) {
    void *native = nullptr;
    if (napi_unwrap(env, value, &native) != napi_ok || !native) {
      napi_throw_type_error(env, "ERR_INVALID_THIS", "called on an object of another kind");
      return nullptr;
    }
    return static_cast<T *>(static_cast<Object *>(native));
  }

  static napi_value construct(napi_env env, napi_callback_info info);

private:
  static void finalize(napi_env env, void *data, void *hint);
  napi_ref self_ = nullptr;
  bool held_ = false;
};

struct Method {
  const char *name;
  napi_callback function;
};
void defineClass(Instance *instance, ObjectClass which, const char *name, const Method *methods, size_t count);

// A uv_poll on a descriptor it owns. close() ends callbacks at once and closes the descriptor.
class Poll {
public:
  using Ready = void (*)(void *owner, int status, int events);
  static Poll *open(Instance *instance, int fd, int events, void *owner, Ready ready, int *error);
  void listen(int events);
  void close();
  int fd() const { return fd_; }

private:
  uv_poll_t handle_;
  Instance *instance_;
  int fd_;
  int events_ = 0;
  void *owner_;
  Ready ready_;
};

// A uv_async: signal() may be called from any thread until close().
class Wake {
public:
  using Woken = void (*)(void *owner);
  static Wake *open(Instance *instance, void *owner, Woken woken);
  void signal() { uv_async_send(&handle_); }
  void close();

private:
  uv_async_t handle_;
  Instance *instance_;
  void *owner_;
  Woken woken_;
};

} // namespace muster

#endif
