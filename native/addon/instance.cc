// See instance.h.
#include "instance.h"

#include <unistd.h>

#include <vector>

#include "call.h"

namespace muster {

namespace {

void tearDown(napi_async_cleanup_hook_handle handle, void *data) {
  auto *instance = static_cast<Instance *>(data);
  std::vector<Object *> live(instance->live.begin(), instance->live.end());
  for (Object *object : live) object->shutdown();
  instance->cleanup = handle;
  if (instance->handles == 0) {
    instance->cleanup = nullptr;
    napi_remove_async_cleanup_hook(handle);
  }
}

void forget(Instance *instance) {
  if (instance->finalized && instance->handles == 0) delete instance;
}

} // namespace

Instance *Instance::of(napi_env env) {
  void *data = nullptr;
  napi_get_instance_data(env, &data);
  return static_cast<Instance *>(data);
}

Instance *Instance::create(napi_env env) {
  auto *instance = new Instance();
  instance->env = env;
  napi_get_uv_event_loop(env, &instance->loop);
  napi_set_instance_data(
      env, instance,
      [](napi_env, void *data, void *) {
        auto *ended = static_cast<Instance *>(data);
        ended->finalized = true;
        forget(ended);
      },
      nullptr);
  napi_add_async_cleanup_hook(env, tearDown, instance, nullptr);
  return instance;
}

void Instance::handleClosed() {
  handles--;
  if (handles == 0 && cleanup) {
    napi_async_cleanup_hook_handle handle = cleanup;
    cleanup = nullptr;
    napi_remove_async_cleanup_hook(handle);
  }
  forget(this);
}

Object::~Object() { instance->live.erase(this); }

napi_value Object::value() const {
  napi_value result = nullptr;
  if (self_) napi_get_reference_value(env(), self_, &result);
  return result;
}

void Object::hold() {
  if (held_ || !self_) return;
  held_ = true;
  napi_reference_ref(env(), self_, nullptr);
}

void Object::release() {
  if (!held_) return;
  held_ = false;
  napi_reference_unref(env(), self_, nullptr);
}

void Object::emit(const char *name, size_t count, napi_value *values) {
  napi_value self = value();
  napi_value function = nullptr;
  napi_valuetype type = napi_undefined;
  if (!self || napi_get_named_property(env(), self, name, &function) != napi_ok) return;
  napi_typeof(env(), function, &type);
  if (type != napi_function) return;
  napi_value result = nullptr;
  if (napi_make_callback(env(), nullptr, self, function, count, values, &result) == napi_pending_exception) {
    napi_value error = nullptr;
    napi_get_and_clear_last_exception(env(), &error);
    napi_fatal_exception(env(), error);
  }
}

napi_value Object::construct(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Instance *instance = Instance::of(env);
  Object *native = instance->beingMade;
  instance->beingMade = nullptr;
  if (!native) return throwType(env, "made by the functions of this module only");
  if (napi_wrap(env, call.self, native, finalize, nullptr, &native->self_) != napi_ok) return nullptr;
  return call.self;
}

void Object::finalize(napi_env env, void *data, void *) {
  auto *native = static_cast<Object *>(data);
  native->held_ = false;
  native->shutdown();
  napi_delete_reference(env, native->self_);
  native->self_ = nullptr;
  delete native;
}

napi_value Object::wrap(ObjectClass which, Object *native) {
  Instance *instance = native->instance;
  napi_value constructor = nullptr;
  napi_value result = nullptr;
  instance->beingMade = native;
  if (napi_get_reference_value(instance->env, instance->classes[which], &constructor) != napi_ok ||
      napi_new_instance(instance->env, constructor, 0, nullptr, &result) != napi_ok) {
    instance->beingMade = nullptr;
    if (!native->self_) {
      native->shutdown();
      delete native;
    }
    return nullptr;
  }
  return result;
}

void defineClass(Instance *instance, ObjectClass which, const char *name, const Method *methods, size_t count) {
  std::vector<napi_property_descriptor> properties;
  for (size_t i = 0; i < count; i++) {
    napi_property_descriptor property = {};
    property.utf8name = methods[i].name;
    property.method = methods[i].function;
    property.attributes = napi_default_method;
    properties.push_back(property);
  }
  napi_value constructor = nullptr;
  napi_define_class(instance->env, name, NAPI_AUTO_LENGTH, Object::construct, nullptr, properties.size(), properties.data(),
                    &constructor);
  napi_create_reference(instance->env, constructor, 1, &instance->classes[which]);
}

Poll *Poll::open(Instance *instance, int fd, int events, void *owner, Ready ready, int *error) {
  auto *poll = new Poll();
  poll->instance_ = instance;
  poll->fd_ = fd;
  poll->owner_ = owner;
  poll->ready_ = ready;
  int result = uv_poll_init(instance->loop, &poll->handle_, fd);
  if (result != 0) {
    *error = -result;
    delete poll;
    return nullptr;
  }
  poll->handle_.data = poll;
  instance->handles++;
  poll->listen(events);
  return poll;
}

void Poll::listen(int events) {
  if (events == events_) return;
  events_ = events;
  uv_poll_start(&handle_, events, [](uv_poll_t *handle, int status, int happened) {
    auto *poll = static_cast<Poll *>(handle->data);
    napi_handle_scope scope = nullptr;
    napi_env env = poll->instance_->env;
    napi_open_handle_scope(env, &scope);
    poll->ready_(poll->owner_, status, happened);
    napi_close_handle_scope(env, scope);
  });
}

void Poll::close() {
  uv_close(reinterpret_cast<uv_handle_t *>(&handle_), [](uv_handle_t *handle) {
    auto *poll = static_cast<Poll *>(handle->data);
    poll->instance_->handleClosed();
    delete poll;
  });
  ::close(fd_);
  fd_ = -1;
}

Wake *Wake::open(Instance *instance, void *owner, Woken woken) {
  auto *wake = new Wake();
  wake->instance_ = instance;
  wake->owner_ = owner;
  wake->woken_ = woken;
  uv_async_init(instance->loop, &wake->handle_, [](uv_async_t *handle) {
    auto *self = static_cast<Wake *>(handle->data);
    napi_handle_scope scope = nullptr;
    napi_env env = self->instance_->env;
    napi_open_handle_scope(env, &scope);
    self->woken_(self->owner_);
    napi_close_handle_scope(env, scope);
  });
  wake->handle_.data = wake;
  instance->handles++;
  return wake;
}

void Wake::close() {
  uv_close(reinterpret_cast<uv_handle_t *>(&handle_), [](uv_handle_t *handle) {
    auto *wake = static_cast<Wake *>(handle->data);
    wake->instance_->handleClosed();
    delete wake;
  });
}

} // namespace muster
