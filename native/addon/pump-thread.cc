// See pump-thread.h.
#include "pump-thread.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

namespace muster {

namespace {

constexpr int kEventsPerTurn = 128;
constexpr uint64_t kBell = ~0ull;
constexpr uint64_t kTellEveryNs = 4000000;
constexpr size_t kStackBytes = 256 * 1024;

} // namespace

uint64_t nowNs() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

int PumpThread::start() {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  bell_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (epoll_ < 0 || bell_ < 0) return errno;
  int error = control(EPOLL_CTL_ADD, bell_, EPOLLIN, kBell);
  if (error) return error;
  wake_ = Wake::open(instance, this, [](void *self) { static_cast<PumpThread *>(self)->deliver(); });
  sigset_t all, before;
  sigfillset(&all);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  error = pthread_create(&thread_, &attributes, run, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  running_ = error == 0;
  return error;
}

void PumpThread::shutdown() {
  if (running_) {
    {
      Lock lock(mutex_);
      stop_ = true;
    }
    nudge();
    pthread_join(thread_, nullptr);
    running_ = false;
    closeAll();
  }
  if (wake_) wake_->close();
  wake_ = nullptr;
  if (epoll_ >= 0) close(epoll_);
  if (bell_ >= 0) close(bell_);
  epoll_ = bell_ = -1;
}

int PumpThread::control(int operation, int fd, uint32_t events, uint64_t data) {
  struct epoll_event event = {};
  event.events = events;
  event.data.u64 = data;
  return epoll_ctl(epoll_, operation, fd, &event) != 0 ? errno : 0;
}

void PumpThread::nudge() {
  uint64_t one = 1;
  // Fails only when it is rung already.
  ssize_t ignored = write(bell_, &one, sizeof one);
  (void)ignored;
}

void PumpThread::report(const Progress &progress, bool urgent) {
  Progress &entry = progress_[progress.id];
  uint32_t kept = entry.flags;
  int32_t error = entry.error;
  entry = progress;
  // An error or an end not heard yet is not overwritten by mere growth.
  entry.flags |= kept;
  if (!entry.error) entry.error = error;
  if (told_) return;
  uint64_t now = nowNs();
  uint64_t due = urgent ? now : lastTellNs_ + kTellEveryNs;
  if (tellNs_ == 0 || due < tellNs_) tellNs_ = due;
  if (tellNs_ <= now) wakeLoop();
}

void PumpThread::wakeLoop() {
  tellNs_ = 0;
  told_ = true;
  lastTellNs_ = nowNs();
  wake_->signal();
}

void PumpThread::deliver() {
  std::vector<Progress> records;
  {
    Lock lock(mutex_);
    told_ = false;
    records.reserve(progress_.size());
    for (const auto &entry : progress_) records.push_back(entry.second);
    progress_.clear();
  }
  if (records.empty()) return;
  napi_value buffer = nullptr;
  napi_create_buffer_copy(env(), records.size() * sizeof(Progress), records.data(), nullptr, &buffer);
  emit("onProgress", 1, &buffer);
}

void *PumpThread::run(void *data) {
  auto *self = static_cast<PumpThread *>(data);
  pthread_setname_np(pthread_self(), "muster-pump");
  struct epoll_event events[kEventsPerTurn];
  for (;;) {
    uint64_t due = self->dueNs();
    {
      Lock lock(self->mutex_);
      if (self->stop_) return nullptr;
      if (self->tellNs_ != 0) {
        if (self->tellNs_ <= nowNs()) self->wakeLoop();
        else if (due == 0 || self->tellNs_ < due) due = self->tellNs_;
      }
    }
    int timeoutMs = -1;
    if (due != 0) {
      uint64_t now = nowNs();
      timeoutMs = due <= now ? 0 : static_cast<int>((due - now + 999999) / 1000000);
    }
    int count = epoll_wait(self->epoll_, events, kEventsPerTurn, timeoutMs);
    if (count < 0) count = 0;
    for (int i = 0; i < count; i++) {
      if (events[i].data.u64 != kBell) continue;
      uint64_t rung;
      ssize_t ignored = read(self->bell_, &rung, sizeof rung);
      (void)ignored;
      events[i--] = events[--count];
    }
    self->turn(events, count);
  }
}

} // namespace muster
