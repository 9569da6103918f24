// What each file puts into the module, called once an environment by module.cc.
#ifndef MUSTER_ADDON_FUNCTIONS_H
#define MUSTER_ADDON_FUNCTIONS_H

#include <node_api.h>

#include <string>

namespace muster {

void defineFds(napi_env env, napi_value exports);
void definePidfd(napi_env env, napi_value exports);
void defineMemory(napi_env env, napi_value exports);
void defineUsers(napi_env env, napi_value exports);
void definePacketSocket(napi_env env, napi_value exports);
void defineWatch(napi_env env, napi_value exports);
void definePmiPoller(napi_env env, napi_value exports);
void defineOutputPump(napi_env env, napi_value exports);
void defineInputPump(napi_env env, napi_value exports);
void defineCgroup(napi_env env, napi_value exports);
void defineNetlink(napi_env env, napi_value exports);
void defineLink(napi_env env, napi_value exports);

// { pid, uid, gid } of the process at the other end, as of its connect or socketpair.
napi_value credentialsOf(napi_env env, int fd);

} // namespace muster

#endif
