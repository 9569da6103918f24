// Processes by pidfd, never by number once one is held: a number may come back as somebody else.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

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

// A program that ignores SIGXFSZ finds every later write to a file refused: it fails, and can tidy up.
napi_value limitFileSize(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int pid;
  uint32_t bytes;
  if (!call.integer(0, "pid", &pid) || !call.unsignedInteger(1, "bytes", &bytes)) return nullptr;
  struct rlimit limit = {};
  if (prlimit(pid, RLIMIT_FSIZE, nullptr, &limit) != 0) return throwErrno(env, "prlimit", errno);
  limit.rlim_cur = bytes;
  return prlimit(pid, RLIMIT_FSIZE, &limit, nullptr) != 0 ? throwErrno(env, "prlimit", errno) : undefined(env);
}

// tcp(7): a socket in repair mode sends nothing and answers nobody. False: it was in none.
napi_value endTcpRepair(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int fd;
  if (!call.integer(0, "fd", &fd)) return nullptr;
  int value = 0;
  socklen_t length = sizeof value;
  if (getsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &value, &length) != 0) {
    bool isOther = errno == ENOPROTOOPT || errno == EOPNOTSUPP || errno == ENOTSOCK;
    return isOther ? boolean(env, false) : throwErrno(env, "getsockopt", errno);
  }
  if (value == 0) return boolean(env, false);
  int off = 0;
  if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof off) != 0) return throwErrno(env, "setsockopt", errno);
  return boolean(env, true);
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

// posix_spawn, since it borrows this process's memory until exec: a fork of a process as large as Node's copies its page
// tables, and Node's own spawn waits for the exec besides.
napi_value spawnProgram(napi_env env, napi_callback_info info) {
  constexpr size_t kMostFds = 1024;
  Call call(env, info);
  std::string path;
  uint32_t wordCount = 0;
  if (!call.string(0, "path", &path)) return nullptr;
  if (napi_get_array_length(env, call.at(1), &wordCount) != napi_ok) return throwType(env, "args: expected an array of strings");
  std::vector<std::string> words{path};
  for (uint32_t i = 0; i < wordCount; i++) {
    napi_value word;
    size_t length;
    if (napi_get_element(env, call.at(1), i, &word) != napi_ok ||
        napi_get_value_string_utf8(env, word, nullptr, 0, &length) != napi_ok)
      return throwType(env, "args: expected an array of strings");
    std::string text(length, '\0');
    napi_get_value_string_utf8(env, word, text.data(), length + 1, &length);
    words.push_back(std::move(text));
  }
  uint32_t fds[kMostFds];
  size_t count;
  if (!numbers(env, call.at(2), "fds", kMostFds, fds, &count)) return nullptr;

  std::vector<char *> argv;
  for (std::string &word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  char *environment[] = {nullptr};
  // Sources first go above all targets, so that none is overwritten before it is used.
  int error = 0;
  std::vector<int> copies;
  for (size_t i = 0; i < count && error == 0; i++) {
    int copy = fcntl(static_cast<int>(fds[i]), F_DUPFD_CLOEXEC, static_cast<int>(count));
    if (copy < 0) error = errno;
    else copies.push_back(copy);
  }
  pid_t pid = -1;
  if (error == 0) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    for (size_t i = 0; i < copies.size(); i++) posix_spawn_file_actions_adddup2(&actions, copies[i], static_cast<int>(i));
    // A library may have opened something without close-on-exec.
    posix_spawn_file_actions_addclosefrom_np(&actions, static_cast<int>(count));
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    error = posix_spawn(&pid, path.c_str(), &actions, &attributes, argv.data(), environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
  }
  for (int copy : copies) close(copy);
  if (error != 0) return throwErrno(env, "posix_spawn", error, path.c_str());
  // Nobody else reaps it: the number is still its own.
  long fd = syscall(SYS_pidfd_open, pid, 0);
  return fd < 0 ? throwErrno(env, "pidfd_open", errno) : number(env, fd);
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
  method(env, exports, "spawnProgram", spawnProgram);
  method(env, exports, "limitFileSize", limitFileSize);
  method(env, exports, "endTcpRepair", endTcpRepair);
  method(env, exports, "setChildSubreaper", setChildSubreaper);
}

} // namespace muster
