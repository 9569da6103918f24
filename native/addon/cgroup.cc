// Moving a process into a control group that lies outside of this process's cgroup namespace: where the hierarchy is mounted with
// nsdelegate, the kernel lets only those do that who see both groups, by the namespace of whoever opened the file. So it is opened by a
// thread of its own, in the namespace of the machine's first process; this process never leaves its own.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <string>

#include "call.h"
#include "functions.h"

namespace muster {

namespace {

struct Move {
  const std::string *file;
  std::string pid;
  int error;
  const char *call;
};

void *move(void *argument) {
  Move *move = static_cast<Move *>(argument);
  auto failed = [&](const char *call) {
    move->error = errno;
    move->call = call;
  };
  int host = open("/proc/1/ns/cgroup", O_RDONLY | O_CLOEXEC);
  if (host < 0) return failed("open"), nullptr;
  if (setns(host, CLONE_NEWCGROUP) != 0) failed("setns");
  close(host);
  if (move->error != 0) return nullptr;
  int fd = open(move->file->c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return failed("open"), nullptr;
  if (write(fd, move->pid.data(), move->pid.size()) < 0) failed("write");
  close(fd);
  return nullptr;
}

napi_value cgroupEnter(napi_env env, napi_callback_info info) {
  Call call(env, info);
  std::string file;
  int pid;
  if (!call.string(0, "file", &file) || !call.integer(1, "pid", &pid)) return nullptr;
  Move errand = {&file, std::to_string(pid), 0, ""};
  pthread_t thread;
  int error = pthread_create(&thread, nullptr, move, &errand);
  if (error != 0) return throwErrno(env, "pthread_create", error);
  pthread_join(thread, nullptr);
  if (errand.error != 0) return throwErrno(env, errand.call, errand.error, file.c_str());
  return undefined(env);
}

} // namespace

void defineCgroup(napi_env env, napi_value exports) { method(env, exports, "cgroupEnter", cgroupEnter); }

} // namespace muster
