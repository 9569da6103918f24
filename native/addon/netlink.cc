// Network namespaces and rtnetlink sockets. A socket belongs to the namespace in which it was made, and a new namespace to
// whoever holds it: both are made on a thread of their own, so the process never leaves its namespace. What the messages
// mean is TypeScript's business (node-agent/network/); here they are bytes with a header (netlink(7)).
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "call.h"
#include "functions.h"

namespace muster {

namespace {

struct Outcome {
  int error;
  const char *call;
  int fd; // -1: none
};

const Outcome done = {0, "", -1};

Outcome failure(const char *call) { return {errno, call, -1}; }
Outcome made(int fd) { return {0, "", fd}; }

struct Errand {
  int netns;
  const std::function<Outcome()> *work;
  Outcome outcome;
};

void *run(void *argument) {
  Errand *errand = static_cast<Errand *>(argument);
  bool there = errand->netns < 0 || setns(errand->netns, CLONE_NEWNET) == 0;
  errand->outcome = there ? (*errand->work)() : failure("setns");
  return nullptr;
}

// Runs `work` on a thread of its own, in the network namespace behind `netns` (-1: that of this process).
Outcome inNetns(int netns, const std::function<Outcome()> &work) {
  Errand errand = {netns, &work, done};
  pthread_t thread;
  int error = pthread_create(&thread, nullptr, run, &errand);
  if (error != 0) return {error, "pthread_create", -1};
  pthread_join(thread, nullptr);
  return errand.outcome;
}

napi_value told(napi_env env, const Outcome &outcome) {
  if (outcome.error != 0) return throwErrno(env, outcome.call, outcome.error);
  return outcome.fd >= 0 ? number(env, outcome.fd) : undefined(env);
}

// An older kernel may not have all of what is to be set. In a container /proc/sys is read-only, and the node's own is not; which network
// is meant goes by who writes, wherever.
void writeFile(const std::string &path, const std::string &value) {
  int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0 && errno == EROFS) fd = open(("/proc/1/root" + path).c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (write(fd, value.data(), value.size()) < 0) errno = 0;
  close(fd);
}

Outcome newNetns(const std::string &settings) {
  return inNetns(-1, [&]() -> Outcome {
    if (unshare(CLONE_NEWNET) != 0) return failure("unshare");
    for (size_t at = 0, end; (end = settings.find('\n', at)) != std::string::npos; at = end + 1) {
      size_t equals = settings.find('=', at);
      if (equals < end)
        writeFile("/proc/sys/net/" + settings.substr(at, equals - at), settings.substr(equals + 1, end - equals - 1));
    }
    int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    return fd < 0 ? failure("open") : made(fd);
  });
}

napi_value netnsNew(napi_env env, napi_callback_info info) {
  Call call(env, info);
  std::string settings;
  if (!call.string(0, "settings", &settings)) return nullptr;
  return told(env, newNetns(settings));
}

// One that is made beside the main loop: it takes the kernel some milliseconds.
struct Making {
  std::string settings;
  Outcome outcome = done;
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
};

void makeNetns(napi_env, void *data) {
  Making *making = static_cast<Making *>(data);
  making->outcome = newNetns(making->settings);
}

void tellNetns(napi_env env, napi_status, void *data) {
  std::unique_ptr<Making> making(static_cast<Making *>(data));
  const Outcome &outcome = making->outcome;
  if (outcome.error != 0) napi_reject_deferred(env, making->deferred, errnoError(env, outcome.call, outcome.error));
  else napi_resolve_deferred(env, making->deferred, number(env, outcome.fd));
  napi_delete_async_work(env, making->work);
}

napi_value netnsMake(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto making = std::make_unique<Making>();
  if (!call.string(0, "settings", &making->settings)) return nullptr;
  napi_value promise, name;
  if (napi_create_string_utf8(env, "netns", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_promise(env, &making->deferred, &promise) != napi_ok ||
      napi_create_async_work(env, nullptr, name, makeNetns, tellNetns, making.get(), &making->work) != napi_ok ||
      napi_queue_async_work(env, making->work) != napi_ok)
    return throwErrno(env, "netns", ENOMEM);
  making.release();
  return promise;
}

napi_value netnsOf(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int pidfd;
  if (!call.integer(0, "pidfd", &pidfd)) return nullptr;
  return told(env, inNetns(pidfd, []() -> Outcome {
                int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
                return fd < 0 ? failure("open") : made(fd);
              }));
}

napi_value netlinkOpen(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int netns, protocol;
  if (!call.integer(0, "netns", &netns) || !call.integer(1, "protocol", &protocol)) return nullptr;
  return told(env, inNetns(netns, [&]() -> Outcome {
                int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
                if (fd < 0) return failure("socket");
                int on = 1;
                setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on); // words beside an errno, where the kernel has them
                setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
                sockaddr_nl address = {};
                address.nl_family = AF_NETLINK;
                if (bind(fd, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0) return made(fd);
                Outcome outcome = failure("bind");
                close(fd);
                return outcome;
              }));
}

size_t headers(const uint8_t *bytes, size_t length, const std::function<void(const nlmsghdr &)> &each) {
  size_t count = 0;
  for (size_t at = 0; at + sizeof(nlmsghdr) <= length; count++) {
    nlmsghdr header;
    memcpy(&header, bytes + at, sizeof header);
    if (header.nlmsg_len < sizeof header) break;
    each(header);
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
  return count;
}

// Messages on their way together: they may wait for the kernel's lock on links, some ten milliseconds while others are removed.
struct Step {
  int fd = -1;
  std::vector<uint8_t> message;
};

struct Request {
  Step steps[2];
  size_t count = 1;
  std::vector<uint8_t> answers;
  const char *call = nullptr;
  int error = 0;
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
};

// The kernel answers while send(2) runs, and ends its answer to each message that asks for one with NLMSG_ERROR (an acknowledgement
// too) or NLMSG_DONE. What begins and ends a batch of the packet filter asks for none.
bool carryOut(const Step &step, Request *request) {
  auto fail = [&](const char *call, int error) {
    request->call = call;
    request->error = error;
    return false;
  };
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  ssize_t sent;
  do sent = sendto(step.fd, step.message.data(), step.message.size(), 0, reinterpret_cast<sockaddr *>(&kernel), sizeof kernel);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) return fail("sendto", errno);
  std::vector<uint8_t> packet(1 << 16);
  size_t left = 0;
  headers(step.message.data(), step.message.size(), [&](const nlmsghdr &header) {
    if ((header.nlmsg_flags & (NLM_F_ACK | NLM_F_DUMP)) != 0) left++;
  });
  while (left > 0) {
    ssize_t got = recv(step.fd, packet.data(), packet.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail("recv", got < 0 ? errno : EPIPE);
    headers(packet.data(), static_cast<size_t>(got), [&](const nlmsghdr &header) {
      if (left > 0 && (header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE)) left--;
    });
    request->answers.insert(request->answers.end(), packet.begin(), packet.begin() + got);
  }
  return true;
}

void perform(napi_env, void *data) {
  Request *request = static_cast<Request *>(data);
  for (size_t i = 0; i < request->count; i++)
    if (!carryOut(request->steps[i], request)) return;
}

void settle(napi_env env, napi_status, void *data) {
  std::unique_ptr<Request> request(static_cast<Request *>(data));
  napi_value buffer;
  if (request->error != 0) napi_reject_deferred(env, request->deferred, errnoError(env, request->call, request->error));
  else if (napi_create_buffer_copy(env, request->answers.size(), request->answers.data(), nullptr, &buffer) == napi_ok)
    napi_resolve_deferred(env, request->deferred, buffer);
  else napi_reject_deferred(env, request->deferred, errnoError(env, "buffer", ENOMEM));
  napi_delete_async_work(env, request->work);
}

napi_value netlinkRequest(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto request = std::make_unique<Request>();
  request->count = call.isAbsent(2) ? 1 : 2;
  for (size_t i = 0; i < request->count; i++) {
    const uint8_t *message;
    size_t length;
    if (!call.integer(2 * i, "fd", &request->steps[i].fd) || !call.bytes(2 * i + 1, "message", &message, &length)) return nullptr;
    request->steps[i].message.assign(message, message + length);
  }
  napi_value promise, name;
  if (napi_create_string_utf8(env, "netlink", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_promise(env, &request->deferred, &promise) != napi_ok ||
      napi_create_async_work(env, nullptr, name, perform, settle, request.get(), &request->work) != napi_ok ||
      napi_queue_async_work(env, request->work) != napi_ok)
    return throwErrno(env, "netlink", ENOMEM);
  request.release();
  return promise;
}

} // namespace

void defineNetlink(napi_env env, napi_value exports) {
  method(env, exports, "netnsNew", netnsNew);
  method(env, exports, "netnsMake", netnsMake);
  method(env, exports, "netnsOf", netnsOf);
  method(env, exports, "netlinkOpen", netlinkOpen);
  method(env, exports, "netlinkRequest", netlinkRequest);
}

} // namespace muster
