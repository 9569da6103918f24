// Users and groups by the host's own name service (files, LDAP, whatever nsswitch.conf says), as login would see them.
// These calls may take as long as that service takes.
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <vector>

#include "call.h"
#include "functions.h"

namespace muster {

namespace {

constexpr size_t kLargestEntry = 16u << 20;

// "Not found" has many errnos, see getpwnam(3).
bool absent(int error) { return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM; }

napi_value user(napi_env env, napi_callback_info info) {
  Call call(env, info);
  bool byNumber = call.isNumber(0);
  uint32_t uid = 0;
  std::string name;
  if (byNumber ? !call.unsignedInteger(0, "nameOrUid", &uid) : !call.string(0, "nameOrUid", &name)) return nullptr;
  std::vector<char> space(4096);
  struct passwd entry;
  struct passwd *found = nullptr;
  int error;
  while ((error = byNumber ? getpwuid_r(uid, &entry, space.data(), space.size(), &found)
                           : getpwnam_r(name.c_str(), &entry, space.data(), space.size(), &found)) == ERANGE &&
         space.size() < kLargestEntry)
    space.resize(space.size() * 4);
  if (!found) return absent(error) ? null(env) : throwErrno(env, "getpwnam", error);
  napi_value result = nullptr;
  napi_create_object(env, &result);
  set(env, result, "name", text(env, entry.pw_name));
  set(env, result, "uid", number(env, entry.pw_uid));
  set(env, result, "gid", number(env, entry.pw_gid));
  set(env, result, "home", text(env, entry.pw_dir));
  set(env, result, "shell", text(env, entry.pw_shell));
  return result;
}

napi_value group(napi_env env, napi_callback_info info) {
  Call call(env, info);
  bool byNumber = call.isNumber(0);
  uint32_t gid = 0;
  std::string name;
  if (byNumber ? !call.unsignedInteger(0, "nameOrGid", &gid) : !call.string(0, "nameOrGid", &name)) return nullptr;
  std::vector<char> space(4096);
  struct group entry;
  struct group *found = nullptr;
  int error;
  while ((error = byNumber ? getgrgid_r(gid, &entry, space.data(), space.size(), &found)
                           : getgrnam_r(name.c_str(), &entry, space.data(), space.size(), &found)) == ERANGE &&
         space.size() < kLargestEntry)
    space.resize(space.size() * 4);
  if (!found) return absent(error) ? null(env) : throwErrno(env, "getgrnam", error);
  napi_value result = nullptr;
  napi_create_object(env, &result);
  set(env, result, "name", text(env, entry.gr_name));
  set(env, result, "gid", number(env, entry.gr_gid));
  return result;
}

napi_value groupsOf(napi_env env, napi_callback_info info) {
  Call call(env, info);
  std::string name;
  uint32_t gid;
  if (!call.string(0, "user", &name) || !call.unsignedInteger(1, "gid", &gid)) return nullptr;
  std::vector<gid_t> groups(64);
  int count = static_cast<int>(groups.size());
  while (getgrouplist(name.c_str(), gid, groups.data(), &count) < 0) {
    size_t grown = groups.size() * 2 > static_cast<size_t>(count) ? groups.size() * 2 : static_cast<size_t>(count);
    if (grown > 65536) return throwErrno(env, "getgrouplist", E2BIG);
    groups.resize(grown);
    count = static_cast<int>(grown);
  }
  napi_value result = nullptr;
  napi_create_array_with_length(env, static_cast<size_t>(count), &result);
  for (int i = 0; i < count; i++)
    napi_set_element(env, result, static_cast<uint32_t>(i), number(env, groups[static_cast<size_t>(i)]));
  return result;
}

} // namespace

void defineUsers(napi_env env, napi_value exports) {
  method(env, exports, "user", user);
  method(env, exports, "group", group);
  method(env, exports, "groupsOf", groupsOf);
}

} // namespace muster
