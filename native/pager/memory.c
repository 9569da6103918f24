/* See memory.h. */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, FAULT_BYTES = 64 << 10 };

int memory_read_table(struct memory *memory, const char *path) {
  struct stat stat;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  if (fstat(fd, &stat) < 0) return -1;
  size_t size = (size_t)stat.st_size;
  memory->table = malloc(size + 1);
  if (!memory->table) return -1;
  for (size_t done = 0; done < size;) {
    ssize_t count = read(fd, (char *)memory->table + done, size - done);
    if (count <= 0) return -1;
    done += (size_t)count;
  }
  close(fd);
  memory->table_count = size / sizeof *memory->table;
  return 0;
}

static int insert(struct process *process, size_t at, struct run run) {
  if (process->count == process->room) {
    size_t room = process->room ? process->room * 2 : 64;
    struct run *runs = realloc(process->runs, room * sizeof *runs);
    if (!runs) return -1;
    process->runs = runs;
    process->room = room;
  }
  memmove(&process->runs[at + 1], &process->runs[at], (process->count - at) * sizeof run);
  process->runs[at] = run;
  process->count++;
  return 0;
}

static void take_out(struct process *process, size_t at) {
  process->count--;
  memmove(&process->runs[at], &process->runs[at + 1], (process->count - at) * sizeof *process->runs);
}

static struct process *add(struct memory *memory, uint32_t pid, int uffd) {
  struct process *processes = realloc(memory->processes, (memory->count + 1) * sizeof *processes);
  if (!processes) return NULL;
  memory->processes = processes;
  processes[memory->count] = (struct process){.uffd = uffd, .pid = pid};
  return &processes[memory->count++];
}

int memory_add(struct memory *memory, uint32_t pid, int uffd) {
  struct process *process = add(memory, pid, uffd);
  if (!process) return -1;
  for (size_t i = 0; i < memory->table_count; i++) {
    const struct missing *missing = &memory->table[i];
    uint64_t bytes = (uint64_t)missing->pages * PAGE;
    if (missing->pid == pid &&
        insert(process, process->count, (struct run){missing->address, missing->address, bytes, false}) < 0)
      return -1;
  }
  return 0;
}

static int copy_process(struct memory *memory, size_t index, int uffd) {
  struct process *child = add(memory, memory->processes[index].pid, uffd);
  if (!child) return -1;
  const struct process *parent = &memory->processes[index];
  if (parent->count == 0) return 0;
  child->runs = malloc(parent->count * sizeof *child->runs);
  if (!child->runs) return -1;
  memcpy(child->runs, parent->runs, parent->count * sizeof *child->runs);
  child->count = child->room = parent->count;
  return 0;
}

/* Cuts the run in two at an address within it. */
static int split(struct process *process, size_t i, uint64_t offset) {
  struct run rest = process->runs[i];
  rest.at += offset;
  rest.from += offset;
  rest.bytes -= offset;
  process->runs[i].bytes = offset;
  return insert(process, i + 1, rest);
}

/* So that no run reaches over either end of the range, by where the process has it. */
static int cut_out(struct process *process, uint64_t start, uint64_t end) {
  for (size_t i = 0; i < process->count; i++) {
    const struct run *run = &process->runs[i];
    if (run->at < start && start < run->at + run->bytes && split(process, i, start - run->at) < 0) return -1;
    run = &process->runs[i];
    if (run->at < end && end < run->at + run->bytes && split(process, i, end - run->at) < 0) return -1;
  }
  return 0;
}

static int drop(struct process *process, uint64_t start, uint64_t end) {
  if (cut_out(process, start, end) < 0) return -1;
  for (size_t i = process->count; i-- > 0;)
    if (process->runs[i].at >= start && process->runs[i].at < end) take_out(process, i);
  return 0;
}

static int move(struct process *process, uint64_t from, uint64_t to, uint64_t bytes) {
  if (cut_out(process, from, from + bytes) < 0) return -1;
  for (size_t i = 0; i < process->count; i++) {
    struct run *run = &process->runs[i];
    if (run->at >= from && run->at < from + bytes) run->at = run->at - from + to;
  }
  return 0;
}

static void leave(struct process *process) {
  process->gone = true;
  process->count = 0;
}

static void wake(const struct process *process, uint64_t at) {
  struct uffdio_range range = {at, PAGE};
  ioctl(process->uffd, UFFDIO_WAKE, &range);
}

/* Nothing was there where it left: it is zero. */
static int zero(struct process *process, uint64_t at) {
  struct uffdio_zeropage page = {.range = {at, PAGE}};
  if (ioctl(process->uffd, UFFDIO_ZEROPAGE, &page) == 0) return 0;
  if (errno == EEXIST) wake(process, at);
  else if (errno == ESRCH) leave(process);
  else if (errno != EAGAIN && errno != ENOENT && errno != EINVAL) return -1;
  /* EAGAIN: the memory is being changed; whoever waits faults again after that. */
  if (errno == EAGAIN) wake(process, at);
  return 0;
}

static int fault(struct process *process, uint64_t at, wanted want) {
  for (size_t i = 0; i < process->count; i++) {
    const struct run *run = &process->runs[i];
    if (at < run->at || at >= run->at + run->bytes) continue;
    if (run->asked) return 0;
    uint64_t offset = (at - run->at) / FAULT_BYTES * FAULT_BYTES;
    if (offset > 0 && split(process, i++, offset) < 0) return -1;
    if (process->runs[i].bytes > FAULT_BYTES && split(process, i, FAULT_BYTES) < 0) return -1;
    process->runs[i].asked = true;
    want(process->pid, process->runs[i].from, process->runs[i].bytes);
    return 0;
  }
  return zero(process, at);
}

int memory_events(struct memory *memory, size_t index, wanted want) {
  struct uffd_msg message;
  for (;;) {
    struct process *process = &memory->processes[index];
    if (process->gone) return 0;
    ssize_t count = read(process->uffd, &message, sizeof message);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return 0;
    if (count != sizeof message) return -1;
    int result = 0;
    switch (message.event) {
    case UFFD_EVENT_PAGEFAULT: result = fault(process, message.arg.pagefault.address & ~(uint64_t)(PAGE - 1), want); break;
    case UFFD_EVENT_FORK: result = copy_process(memory, index, (int)message.arg.fork.ufd); break;
    case UFFD_EVENT_REMAP: result = move(process, message.arg.remap.from, message.arg.remap.to, message.arg.remap.len); break;
    case UFFD_EVENT_REMOVE:
    case UFFD_EVENT_UNMAP: result = drop(process, message.arg.remove.start, message.arg.remove.end); break;
    default: return -1;
    }
    if (result < 0) return -1;
  }
}

/* One copy of at most what the run has. Sets `done` to the bytes of it that are settled; 0: its events are to be taken in first. */
static int put(struct process *process, uint64_t at, const uint8_t *data, uint64_t bytes, uint64_t *done) {
  struct uffdio_copy copy = {.dst = at, .src = (uint64_t)(uintptr_t)data, .len = bytes};
  *done = bytes;
  if (ioctl(process->uffd, UFFDIO_COPY, &copy) == 0) return 0;
  *done = 0;
  if (copy.copy > 0) {
    *done = (uint64_t)copy.copy;
    return 0;
  }
  /* Pages in a row may belong to mappings side by side, which one copy cannot span. */
  if ((errno == ENOENT || errno == EINVAL) && bytes > PAGE) return put(process, at, data, PAGE, done);
  switch (errno) {
  case EAGAIN: return 0;
  case EEXIST: /* the process was faster */
    wake(process, at);
    *done = PAGE;
    return 0;
  case ENOENT: /* not its memory any more, or not such memory */
  case EINVAL: *done = PAGE; return 0;
  case ESRCH: leave(process); return 0;
  default: return -1;
  }
}

int memory_fill(struct memory *memory, uint32_t pid, uint64_t from, const uint8_t *data, uint64_t bytes, wanted want) {
  size_t processes = memory->count;
  for (size_t p = 0; p < processes; p++) {
    if (memory->processes[p].pid != pid || memory->processes[p].gone) continue;
    for (size_t i = 0; i < memory->processes[p].count;) {
      struct process *process = &memory->processes[p];
      struct run *run = &process->runs[i];
      uint64_t start = run->from > from ? run->from : from;
      uint64_t end = run->from + run->bytes < from + bytes ? run->from + run->bytes : from + bytes;
      if (start >= end) {
        i++;
        continue;
      }
      if (start > run->from) {
        if (split(process, i++, start - run->from) < 0) return -1;
        continue;
      }
      uint64_t done;
      if (put(process, run->at, data + (start - from), end - start, &done) < 0) return -1;
      if (process->gone) break;
      if (done == 0) {
        sched_yield();
        if (memory_events(memory, p, want) < 0) return -1;
        processes = memory->count; /* a child misses it too */
        i = 0;                     /* what was told may have changed all of it */
        continue;
      }
      run->at += done;
      run->from += done;
      run->bytes -= done;
      if (run->bytes == 0) take_out(process, i);
    }
  }
  return 0;
}

bool memory_next(struct memory *memory, uint32_t *pid, uint64_t *from, uint64_t *bytes) {
  for (size_t p = 0; p < memory->count; p++) {
    struct process *process = &memory->processes[p];
    for (size_t i = 0; i < process->count; i++) {
      if (process->runs[i].asked) continue;
      if (process->runs[i].bytes > BLOCK_BYTES && split(process, i, BLOCK_BYTES) < 0) return false;
      process->runs[i].asked = true;
      *pid = process->pid;
      *from = process->runs[i].from;
      *bytes = process->runs[i].bytes;
      return true;
    }
  }
  return false;
}

void memory_forget_asked(struct memory *memory) {
  for (size_t p = 0; p < memory->count; p++)
    for (size_t i = 0; i < memory->processes[p].count; i++) memory->processes[p].runs[i].asked = false;
}

uint64_t memory_missing(const struct memory *memory) {
  uint64_t bytes = 0;
  for (size_t p = 0; p < memory->count; p++)
    for (size_t i = 0; i < memory->processes[p].count; i++) bytes += memory->processes[p].runs[i].bytes;
  return bytes;
}
