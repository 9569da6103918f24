// See call.h.
#include "call.h"

#include <string.h>

#include <limits>

namespace muster {

napi_value errnoError(napi_env env, const char *syscall, int error, const char *path) {
  const char *code = strerrorname_np(error);
  const char *description = strerrordesc_np(error);
  std::string message =
      std::string(code ? code : "UNKNOWN") + ": " + (description ? description : "unknown error") + ", " + syscall;
  if (path) message += std::string(" '") + path + "'";
  napi_value result = nullptr;
  napi_create_error(env, text(env, code ? code : "UNKNOWN"), text(env, message.c_str()), &result);
  set(env, result, "syscall", text(env, syscall));
  set(env, result, "errno", number(env, -error));
  if (path) set(env, result, "path", text(env, path));
  return result;
}

napi_value throwErrno(napi_env env, const char *syscall, int error, const char *path) {
  napi_throw(env, errnoError(env, syscall, error, path));
  return nullptr;
}

napi_value throwType(napi_env env, const char *message) {
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message);
  return nullptr;
}

napi_value number(napi_env env, int64_t value) {
  napi_value result = nullptr;
  napi_create_int64(env, value, &result);
  return result;
}

napi_value big(napi_env env, uint64_t value) {
  napi_value result = nullptr;
  napi_create_bigint_uint64(env, value, &result);
  return result;
}

napi_value text(napi_env env, const char *value) {
  napi_value result = nullptr;
  napi_create_string_utf8(env, value, NAPI_AUTO_LENGTH, &result);
  return result;
}

napi_value boolean(napi_env env, bool value) {
  napi_value result = nullptr;
  napi_get_boolean(env, value, &result);
  return result;
}

napi_value null(napi_env env) {
  napi_value result = nullptr;
  napi_get_null(env, &result);
  return result;
}

napi_value undefined(napi_env env) {
  napi_value result = nullptr;
  napi_get_undefined(env, &result);
  return result;
}

void set(napi_env env, napi_value object, const char *name, napi_value value) {
  napi_set_named_property(env, object, name, value);
}

Call::Call(napi_env environment, napi_callback_info info) : env(environment) {
  napi_get_cb_info(env, info, &count_, values_, &self, &data);
}

napi_valuetype Call::typeOf(size_t index) const {
  napi_valuetype type = napi_undefined;
  if (index < count_) napi_typeof(env, values_[index], &type);
  return type;
}

bool Call::isAbsent(size_t index) const {
  napi_valuetype type = typeOf(index);
  return type == napi_undefined || type == napi_null;
}

bool Call::wrong(const char *name, const char *expected) {
  std::string message = std::string("The argument \"") + name + "\" must be " + expected;
  throwType(env, message.c_str());
  return false;
}

bool Call::integer(size_t index, const char *name, int *out) {
  double value = 0;
  if (typeOf(index) != napi_number) return wrong(name, "a 32-bit integer");
  napi_get_value_double(env, values_[index], &value);
  if (!(value >= std::numeric_limits<int>::min() && value <= std::numeric_limits<int>::max()))
    return wrong(name, "a 32-bit integer");
  *out = static_cast<int>(value);
  return *out == value || wrong(name, "a 32-bit integer");
}

bool Call::unsignedInteger(size_t index, const char *name, uint32_t *out) {
  double value = 0;
  if (typeOf(index) != napi_number) return wrong(name, "an unsigned 32-bit integer");
  napi_get_value_double(env, values_[index], &value);
  if (!(value >= 0 && value <= std::numeric_limits<uint32_t>::max())) return wrong(name, "an unsigned 32-bit integer");
  *out = static_cast<uint32_t>(value);
  return *out == value || wrong(name, "an unsigned 32-bit integer");
}

bool Call::bigint(size_t index, const char *name, uint64_t *out) {
  bool lossless = false;
  if (typeOf(index) != napi_bigint) return wrong(name, "a bigint");
  napi_get_value_bigint_uint64(env, values_[index], out, &lossless);
  // File offsets are signed.
  return (lossless && *out <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) ||
         wrong(name, "a bigint from 0 to 2^63-1");
}

bool Call::string(size_t index, const char *name, std::string *out) {
  if (typeOf(index) != napi_string) return wrong(name, "a string");
  size_t length = 0;
  napi_get_value_string_utf8(env, values_[index], nullptr, 0, &length);
  out->resize(length);
  napi_get_value_string_utf8(env, values_[index], &(*out)[0], length + 1, &length);
  return out->find('\0') == std::string::npos || wrong(name, "a string without NUL");
}

bool Call::flag(size_t index, const char *name, bool *out) {
  if (typeOf(index) != napi_boolean) return wrong(name, "a boolean");
  napi_get_value_bool(env, values_[index], out);
  return true;
}

bool Call::bytes(size_t index, const char *name, const uint8_t **data_, size_t *length) {
  bool is = false;
  if (index < count_) napi_is_typedarray(env, values_[index], &is);
  if (!is) return wrong(name, "a Buffer or Uint8Array");
  napi_typedarray_type type;
  void *start = nullptr;
  napi_get_typedarray_info(env, values_[index], &type, length, &start, nullptr, nullptr);
  if (type != napi_uint8_array) return wrong(name, "a Buffer or Uint8Array");
  *data_ = static_cast<const uint8_t *>(start);
  return true;
}

bool Call::function(size_t index, const char *name, napi_value *out) {
  if (typeOf(index) != napi_function) return wrong(name, "a function");
  *out = values_[index];
  return true;
}

bool numbers(napi_env env, napi_value array, const char *name, size_t most, uint32_t *out, size_t *count) {
  bool is = false;
  uint32_t length = 0;
  if (array) napi_is_array(env, array, &is);
  if (is) napi_get_array_length(env, array, &length);
  if (!is || length > most) {
    std::string message =
        std::string("The argument \"") + name + "\" must be an array of at most " + std::to_string(most) + " numbers";
    throwType(env, message.c_str());
    return false;
  }
  for (uint32_t i = 0; i < length; i++) {
    napi_value element = nullptr;
    int64_t value = -1;
    napi_get_element(env, array, i, &element);
    if (napi_get_value_int64(env, element, &value) != napi_ok || value < 0 || value > 0xffffffffLL) {
      std::string message = std::string("The argument \"") + name + "\" must hold unsigned 32-bit integers only";
      throwType(env, message.c_str());
      return false;
    }
    out[i] = static_cast<uint32_t>(value);
  }
  *count = length;
  return true;
}

void method(napi_env env, napi_value object, const char *name, napi_callback function, void *data) {
  napi_value value = nullptr;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, function, data, &value);
  set(env, object, name, value);
}

} // namespace muster
