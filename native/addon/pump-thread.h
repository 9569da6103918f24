// A thread that waits on an epoll descriptor and moves bytes, and the discipline by which the main loop changes what it works
// on: the table is under one lock, held only for moments; a stream that is being worked on is marked busy and the lock let
// go, so a slow disk never stops the main loop, and who takes a stream away waits until it is idle. Every signal is blocked
// in the thread (SIGPIPE, SIGXFSZ come as errnos). What is moved, and where to, is the subclasses'.
#ifndef MUSTER_ADDON_PUMP_THREAD_H
#define MUSTER_ADDON_PUMP_THREAD_H

#include <pthread.h>
#include <sys/epoll.h>

#include <condition_variable>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "call.h"
#include "instance.h"

namespace muster {

uint64_t nowNs();

// What the main loop hears of a stream: the newest, not every step.
struct Progress {
  uint32_t id;
  uint32_t flags;
  uint64_t length;
  int32_t error;
  uint32_t reserved;
};
static_assert(sizeof(Progress) == 24, "as index.ts says");
constexpr uint32_t kProgressEnd = 1;
constexpr uint32_t kProgressError = 2;

class PumpThread : public Object {
public:
  using Object::Object;
  void shutdown() override;
  // 0 or an errno.
  int start();

protected:
  using Lock = std::unique_lock<std::mutex>;
  // Called in the thread without the lock; `count` may be 0.
  virtual void turn(const struct epoll_event *events, int count) = 0;
  // When the next turn is due even without an event (nowNs), 0 = never. Called in the thread.
  virtual uint64_t dueNs() = 0;
  // Called once the thread has ended.
  virtual void closeAll() = 0;

  // For the thread, with the lock held: the loop hears of it soon, at once when urgent.
  void report(const Progress &progress, bool urgent);
  void forget(uint32_t id) { progress_.erase(id); }
  // 0 or an errno. `data` comes back in the events.
  int control(int operation, int fd, uint32_t events, uint64_t data);
  // Wakes the thread although no descriptor is ready.
  void nudge();

  std::mutex mutex_;
  std::condition_variable idle_;

private:
  static void *run(void *self);
  void deliver();
  void wakeLoop();

  int epoll_ = -1;
  int bell_ = -1;
  bool running_ = false;
  bool stop_ = false;
  pthread_t thread_{};
  Wake *wake_ = nullptr;
  std::unordered_map<uint32_t, Progress> progress_;
  bool told_ = false;   // the loop has been woken and has not looked yet
  uint64_t tellNs_ = 0; // when it will be woken, 0 = nothing to say
  uint64_t lastTellNs_ = 0;
};

} // namespace muster

#endif
