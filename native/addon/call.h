// Arguments in, values and errors out: the few words in which every file here speaks Node-API. It knows the types of the
// interface in index.ts (numbers, bigints, strings, bytes) and how an errno becomes an Error with `code`, `syscall` and
// `errno` (negative, as Node's own); it knows nothing of what the functions do. A function that returns false or nullptr
// has thrown.
#ifndef MUSTER_ADDON_CALL_H
#define MUSTER_ADDON_CALL_H

#include <node_api.h>
#include <stddef.h>
#include <stdint.h>

#include <string>

namespace muster {

// An Error value for this errno; `path` may be null.
napi_value errnoError(napi_env env, const char *syscall, int error, const char *path = nullptr);
// Throws it; always nullptr, so that callers can return it.
napi_value throwErrno(napi_env env, const char *syscall, int error, const char *path = nullptr);
napi_value throwType(napi_env env, const char *message);

napi_value number(napi_env env, int64_t value);
napi_value big(napi_env env, uint64_t value);
napi_value text(napi_env env, const char *value);
napi_value boolean(napi_env env, bool value);
napi_value null(napi_env env);
napi_value undefined(napi_env env);
void set(napi_env env, napi_value object, const char *name, napi_value value);

// The arguments of one call, read in order by position; a wrong type throws a TypeError that names the argument.
class Call {
public:
  static constexpr size_t kMost = 7;
  Call(napi_env env, napi_callback_info info);

  napi_env env;
  napi_value self = nullptr;
  void *data = nullptr;

  bool integer(size_t index, const char *name, int *out);
  bool unsignedInteger(size_t index, const char *name, uint32_t *out);
  bool bigint(size_t index, const char *name, uint64_t *out);
  bool string(size_t index, const char *name, std::string *out);
  bool flag(size_t index, const char *name, bool *out);
  // A Buffer or Uint8Array; valid until the call returns.
  bool bytes(size_t index, const char *name, const uint8_t **data, size_t *length);
  bool function(size_t index, const char *name, napi_value *out);
  bool isNumber(size_t index) const { return typeOf(index) == napi_number; }
  bool isAbsent(size_t index) const;
  napi_value at(size_t index) const { return index < count_ ? values_[index] : nullptr; }

private:
  napi_valuetype typeOf(size_t index) const;
  bool wrong(const char *name, const char *expected);
  napi_value values_[kMost];
  size_t count_ = kMost;
};

// Unsigned numbers of an array, at most `most` of them.
bool numbers(napi_env env, napi_value array, const char *name, size_t most, uint32_t *out, size_t *count);

void method(napi_env env, napi_value object, const char *name, napi_callback function, void *data = nullptr);

} // namespace muster

#endif
