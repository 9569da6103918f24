// The module's one exported symbol. Built as build/native/muster.node; the interface is index.ts.
#include "functions.h"
#include "instance.h"

NAPI_MODULE_INIT() {
  muster::Instance::create(env);
  muster::defineFds(env, exports);
  muster::defineCgroup(env, exports);
  muster::definePidfd(env, exports);
  muster::defineMemory(env, exports);
  muster::defineUsers(env, exports);
  muster::definePacketSocket(env, exports);
  muster::defineWatch(env, exports);
  muster::definePmiPoller(env, exports);
  muster::defineOutputPump(env, exports);
  muster::defineInputPump(env, exports);
  muster::defineNetlink(env, exports);
  muster::defineLink(env, exports);
  return exports;
}
