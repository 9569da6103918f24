/* See slots.h. Lookups scan two compact arrays beside the table: at some thousands of slots that is faster than hashing. */
#include "slots.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "descriptors.h"

#ifndef MUSTER_BUILD
#define MUSTER_BUILD "unknown"
#endif

static struct state_table *table;
static uint64_t *starts; /* rank << 32 | start_id, by slot */
static pid_t *pids;      /* by slot; 0 once collected */
static bool touched;

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t microseconds(struct timeval time) { return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_usec; }

/* Memory that children of fork do not get: nothing to copy, nothing to write-protect. */
static void *private_memory(size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return NULL;
  madvise(memory, bytes, MADV_DONTFORK);
  return memory;
}

int slots_open(uint32_t slots_max) {
  size_t bytes = sizeof(struct state_table) + (size_t)slots_max * sizeof(struct slot);
  int state = memfd_create("muster-state", MFD_CLOEXEC);
  if (state < 0 || ftruncate(state, (off_t)bytes) < 0) return -errno;
  table = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, state, 0);
  if (table == MAP_FAILED) return -errno;
  madvise(table, bytes, MADV_DONTFORK);
  int journal = memfd_create("muster-journal", MFD_CLOEXEC);
  int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int failure[2];
  if (journal < 0 || event < 0 || pipe2(failure, O_CLOEXEC) < 0) return -errno;
  if (fcntl(failure[0], F_SETFL, O_NONBLOCK) < 0) return -errno;
  int error = descriptor_move(state, FD_STATE);
  if (!error) error = descriptor_move(event, FD_EVENT);
  if (!error) error = descriptor_move(journal, FD_JOURNAL);
  if (!error) error = descriptor_move(failure[0], FD_FAILURE_READ);
  if (!error) error = descriptor_move(failure[1], FD_FAILURE_WRITE);
  if (error) return error;

  starts = private_memory(slots_max * sizeof *starts);
  pids = private_memory(slots_max * sizeof *pids);
  if (!starts || !pids) return -ENOMEM;
  table->abi = MUSTER_ABI;
  table->slots_max = slots_max;
  table->started_ns = now_ns();
  _Static_assert(sizeof MUSTER_BUILD <= sizeof table->build, "the build id fits");
  memcpy(table->build, MUSTER_BUILD, sizeof MUSTER_BUILD);
  __atomic_store_n(&table->magic, MUSTER_MAGIC, __ATOMIC_RELEASE);
  return 0;
}

struct state_table *slots_table(void) {
  return table;
}

struct slot *slot_at(uint32_t index) {
  return index < table->slots_used ? &table->slots[index] : NULL;
}

int64_t slot_of_start(uint32_t rank, uint32_t start_id) {
  uint64_t start = (uint64_t)rank << 32 | start_id;
  for (uint32_t i = 0; i < table->slots_used; i++)
    if (starts[i] == start) return i;
  return -1;
}

struct slot *slot_prepare(uint32_t rank, uint32_t start_id, uint32_t flags) {
  uint32_t index = table->slots_used;
  struct slot *slot = &table->slots[index];
  starts[index] = (uint64_t)rank << 32 | start_id;
  pids[index] = 0;
  slot->rank = rank;
  slot->start_id = start_id;
  slot->flags = flags;
  slot->fd_stdin = slot->fd_stdout = slot->fd_stderr = slot->fd_pmi = slot->fd_input = -1;
  slot->started_ns = now_ns();
  return slot;
}

static void show(struct slot *slot, enum slot_state state) {
  __atomic_store_n(&slot->state, state, __ATOMIC_RELEASE);
  slots_touch();
}

static void count_in(const struct slot *slot) {
  __atomic_store_n(&table->slots_used, (uint32_t)(slot - table->slots) + 1, __ATOMIC_RELEASE);
}

void slot_show_running(struct slot *slot, pid_t pid) {
  slot->pid = pid;
  pids[slot - table->slots] = pid;
  table->running++;
  table->descendants = 1;
  show(slot, SLOT_RUNNING);
  count_in(slot);
}

void slot_show_not_started(struct slot *slot, enum start_stage stage, int error) {
  slot->stage = stage;
  slot->error = error;
  slot->ended_ns = now_ns();
  show(slot, SLOT_NOT_STARTED);
  count_in(slot);
}

/* A child writes its failure before it ends, so all of them are here before it is collected. */
static void read_failures(void) {
  struct start_failure failures[64];
  for (;;) {
    ssize_t got = read(FD_FAILURE_READ, failures, sizeof failures);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    for (size_t i = 0; i < (size_t)got / sizeof *failures; i++) {
      struct slot *slot = slot_at(failures[i].slot);
      if (!slot) continue;
      slot->error = failures[i].error;
      slot->stage = failures[i].stage;
    }
  }
}

static void collect(pid_t pid, int status, const struct rusage *usage) {
  uint32_t index = 0;
  while (index < table->slots_used && pids[index] != pid) index++;
  if (index == table->slots_used) return; /* an orphan */
  read_failures();
  struct slot *slot = &table->slots[index];
  pids[index] = 0;
  slot->wait_status = status;
  slot->ended_ns = now_ns();
  slot->user_us = microseconds(usage->ru_utime);
  slot->system_us = microseconds(usage->ru_stime);
  slot->max_rss_kib = (uint64_t)usage->ru_maxrss;
  slot->major_faults = (uint64_t)usage->ru_majflt;
  slot->voluntary_switches = (uint64_t)usage->ru_nvcsw;
  slot->involuntary_switches = (uint64_t)usage->ru_nivcsw;
  slot->read_blocks = (uint64_t)usage->ru_inblock;
  slot->written_blocks = (uint64_t)usage->ru_oublock;
  table->running--;
  show(slot, slot->stage == STAGE_NONE ? SLOT_EXITED : SLOT_NOT_STARTED);
}

void slots_reap(void) {
  read_failures();
  for (;;) {
    int status;
    struct rusage usage;
    pid_t pid = wait4(-1, &status, WNOHANG | __WALL, &usage);
    if (pid > 0) {
      collect(pid, status, &usage);
      continue;
    }
    if (pid < 0 && errno == EINTR) continue;
    /* Orphans become children of pid 1: no child means nobody else lives here. */
    uint32_t descendants = pid == 0;
    if (descendants != table->descendants) {
      table->descendants = descendants;
      slots_touch();
    }
    return;
  }
}

void slots_touch(void) { touched = true; }

void slots_publish(void) {
  if (!touched) return;
  touched = false;
  __atomic_store_n(&table->changes, table->changes + 1, __ATOMIC_RELEASE);
  uint64_t one = 1;
  ssize_t written = write(FD_EVENT, &one, sizeof one);
  (void)written; /* a full counter is a raised one */
}

_Static_assert(sizeof(struct slot) == 176 && sizeof(struct state_table) == 152, "the layout that agents read");
