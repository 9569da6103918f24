// Processes by pidfd, never by number once one is held: a number may come back as somebody else.
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "call.h"
#include "functions.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace muster {

namespace {

napi_value pidfdOpen(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int pid;
  if (!call.integer(0, "pid", &pid)) return nullptr;
  long fd = syscall(SYS_pidfd_open, pid, 0);
  return fd < 0 ? throwErrno(env, "pidfd_open", errno) : number(env, fd);
}

napi_value pidfdGetfd(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int pidfd, fd;
  if (!call.integer(0, "pidfd", &pidfd) || !call.integer(1, "fd", &fd)) return nullptr;
  long copy = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
  return copy < 0 ? throwErrno(env, "pidfd_getfd", errno) : number(env, copy);
}

napi_value pidfdSignal(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int pidfd, signal;
  if (!call.integer(0, "pidfd", &pidfd) || !call.integer(1, "signal", &signal)) return nullptr;
  return syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) != 0 ? throwErrno(env, "pidfd_send_signal", errno)
                                                                        : undefined(env);
}

napi_value reap(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int pidfd;
  if (!call.integer(0, "pidfd", &pidfd)) return nullptr;
  siginfo_t ended;
  ended.si_pid = 0;
  while (waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &ended, WEXITED | WNOHANG) != 0) {
    if (errno == EINTR) continue;
    // A non-blocking pidfd says EAGAIN for a process that runs.
    return errno == ECHILD || errno == EAGAIN ? null(env) : throwErrno(env, "waitid", errno);
  }
  if (ended.si_pid == 0) return null(env);
  switch (ended.si_code) {
  case CLD_EXITED: return number(env, (ended.si_status & 0xff) << 8);
  case CLD_DUMPED: return number(env, ended.si_status | 0x80);
  default: return number(env, ended.si_status);
  }
}

napi_value setChildSubreaper(napi_env env, napi_callback_info) {
  return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 ? throwErrno(env, "prctl", errno) : undefined(env);
}

} // namespace

void definePidfd(napi_env env, napi_value exports) {
  method(env, exports, "pidfdOpen", pidfdOpen);
  method(env, exports, "pidfdGetfd", pidfdGetfd);
  method(env, exports, "pidfdSignal", pidfdSignal);
  method(env, exports, "reap", reap);
  method(env, exports, "setChildSubreaper", setChildSubreaper);
}

} // namespace muster
