/* See lease.h. */
#include "lease.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "guard.gen.h"
#include "slots.h"

static bool held_by_agent;
static bool has_timer;
static timer_t timer;
/* By which this life of the process is known: one that is brought back from an image has another start and namespace. */
struct life {
  uint64_t start_ticks;
  uint64_t pid_namespace;
};
static struct life life_of_lease;

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int tell_all(int signal) { return kill(-1, signal) < 0 && errno != ESRCH ? -errno : 0; }

/* Zeros where /proc does not tell. */
static struct life this_life(void) {
  struct life life = {0};
  struct stat status;
  if (stat("/proc/self/ns/pid", &status) == 0) life.pid_namespace = status.st_ino;
  char text[1024];
  int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (file < 0) return life;
  ssize_t got = read(file, text, sizeof text - 1);
  close(file);
  if (got <= 0) return life;
  text[got] = 0;
  /* Field 22; the name in field 2 may hold anything but ends with the last bracket. */
  const char *at = strrchr(text, ')');
  for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
  for (at = at ? at + 1 : ""; *at >= '0' && *at <= '9'; at++) life.start_ticks = life.start_ticks * 10 + (uint64_t)(*at - '0');
  return life;
}

static bool is_restored(void) {
  struct life life = this_life();
  return life.start_ticks != life_of_lease.start_ticks || life.pid_namespace != life_of_lease.pid_namespace;
}

/* Rows that are not there change nothing. */
static void step(enum guard_event event) {
  struct state_table *table = slots_table();
  for (size_t i = 0; i < sizeof guard_rows / sizeof *guard_rows; i++) {
    const struct guard_row *row = &guard_rows[i];
    if (row->state != table->lease_state || row->event != event) continue;
    __atomic_store_n(&table->lease_state, (uint32_t)row->next, __ATOMIC_RELEASE);
    slots_touch();
    switch (row->action) {
    case GUARD_DO_NONE: return;
    case GUARD_DO_STOP: tell_all(SIGSTOP); return;
    case GUARD_DO_CONTINUE:
      if (!held_by_agent) tell_all(SIGCONT);
      return;
    case GUARD_DO_KILL: tell_all(SIGKILL); return;
    }
    return;
  }
}

/* SIGALRM at that time; at once when it is in the past. */
static int arm(uint64_t at_ns) {
  if (!has_timer) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    if (timer_create(CLOCK_BOOTTIME, &event, &timer) < 0) return -errno;
    has_timer = true;
  }
  struct itimerspec due = {.it_value = {.tv_sec = (time_t)(at_ns / 1000000000u), .tv_nsec = (long)(at_ns % 1000000000u)}};
  return timer_settime(timer, TIMER_ABSTIME, &due, NULL) < 0 ? -errno : 0;
}

void lease_watch(void) {
  const struct state_table *table = slots_table();
  if (table->lease_state == GUARD_UNLEASED || table->lease_state == GUARD_ENDED) return;
  uint64_t now = now_ns();
  if (now < table->lease_expires_ns) return;
  if (is_restored()) step(GUARD_ON_RESTORED);
  else if (now >= table->lease_ends_ns) step(GUARD_ON_HARD_END);
  else if (now >= table->lease_expires_ns && table->lease_state == GUARD_RUNNING) {
    step(GUARD_ON_EXPIRED);
    arm(table->lease_ends_ns);
  }
}

int lease_renew(const struct renewal *renewal) {
  struct state_table *table = slots_table();
  if (renewal->expires_ns == 0 || renewal->expires_ns > renewal->ends_ns) return -EINVAL;
  if (renewal->epoch < table->lease_epoch) return -ESTALE;
  /* Times of an earlier epoch are those of another machine. */
  bool same = renewal->epoch == table->lease_epoch;
  if (same) lease_watch();
  if (table->lease_state == GUARD_ENDED) return -EKEYEXPIRED;
  table->lease_epoch = renewal->epoch;
  if (!same || table->lease_state == GUARD_UNLEASED) life_of_lease = this_life();
  if (!same || renewal->expires_ns > table->lease_expires_ns) table->lease_expires_ns = renewal->expires_ns;
  if (!same || renewal->ends_ns > table->lease_ends_ns) table->lease_ends_ns = renewal->ends_ns;
  slots_touch();
  if (now_ns() >= table->lease_expires_ns) return arm(table->lease_ends_ns); /* too late to let anybody run for a moment */
  int error = arm(table->lease_expires_ns);
  if (!error) step(GUARD_ON_RENEWED);
  return error;
}

bool lease_forbids(void) {
  lease_watch();
  uint32_t state = slots_table()->lease_state;
  return state == GUARD_STOPPED || state == GUARD_ENDED;
}

int lease_hold(bool held) {
  held_by_agent = held;
  if (held) return tell_all(SIGSTOP);
  return lease_forbids() ? 0 : tell_all(SIGCONT);
}
