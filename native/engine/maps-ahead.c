/* See maps-ahead.h. Some processes of their own read, since whoever starts them has to hear of CRIU's end at once. */
#include "maps-ahead.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/maps-ahead.h"

enum { MOST_READERS = 4 };

static pid_t readers[MOST_READERS];

bool maps_open(struct maps_files *files) {
  int ends[2];
  files->file = memfd_create("maps", 0);
  if (files->file < 0 || pipe(ends) < 0) return false;
  files->told = ends[0];
  files->teller = ends[1];
  return true;
}

static char *read_all(uint32_t pid, size_t *length) {
  char path[64], *text = NULL;
  size_t room = 0;
  snprintf(path, sizeof path, "/proc/%u/smaps", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return NULL;
  for (*length = 0;;) {
    if (room - *length < 1 << 16) {
      char *more = realloc(text, room = room ? room * 2 : 1 << 18);
      if (!more) break;
      text = more;
    }
    ssize_t count = read(fd, text + *length, room - *length);
    if (count == 0) {
      close(fd);
      return text;
    }
    if (count < 0) break;
    *length += (size_t)count;
  }
  close(fd);
  free(text);
  return NULL;
}

static void read_one(struct maps_ahead *maps, struct process_maps *process, const struct maps_files *files) {
  size_t length;
  char *text = read_all(process->pid, &length);
  bool done = false;
  if (text) {
    process->length = length;
    process->offset = atomic_fetch_add(&maps->end, length);
    done = pwrite(files->file, text, length, (off_t)process->offset) == (ssize_t)length;
    free(text);
  }
  atomic_store(&process->state, done ? MAPS_READ : MAPS_UNREADABLE);
  if (write(files->teller, "", 1) != 1) _exit(1);
}

static void read_some(struct maps_ahead *maps, uint32_t count, const struct maps_files *files) {
  for (;;) {
    uint32_t next = atomic_fetch_add(&maps->next, 1);
    if (next >= count) _exit(0);
    read_one(maps, &maps->processes[next], files);
  }
}

void maps_begin(const struct maps_files *files, const pid_t *pids, int count) {
  size_t size = sizeof(struct maps_ahead) + sizeof(struct process_maps) * (size_t)count;
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  if (count == 0 || ftruncate(files->file, (off_t)size) < 0) return;
  struct maps_ahead *maps = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, files->file, 0);
  if (maps == MAP_FAILED) return;
  for (int i = 0; i < count; i++) maps->processes[i].pid = (uint32_t)pids[i];
  atomic_store(&maps->end, size);
  atomic_store(&maps->count, (uint32_t)count);
  for (int i = 0; i < MOST_READERS && i < count && i < processors; i++) {
    readers[i] = fork();
    if (readers[i] != 0) continue;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() == 1) _exit(1);
    read_some(maps, (uint32_t)count, files);
  }
  munmap(maps, size);
  close(files->teller);
}

void maps_end(void) {
  for (int i = 0; i < MOST_READERS; i++) {
    if (readers[i] <= 0) continue;
    kill(readers[i], SIGKILL);
    waitpid(readers[i], NULL, 0);
  }
}
