/* See beside.h and ../common/maps-ahead.h. What has been read of the mappings of a process, or is being read, CRIU gets as the file that it asks
 * for; of any other process, and whatever became of the reading, it gets the kernel's.
 */
#include "beside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/maps-ahead.h"

static int file = -1, told = -1;

void maps_begin(int maps, int pipe) {
  file = maps;
  told = pipe;
}

/* NULL: nothing has begun. */
static struct maps_ahead *table(void) {
  static struct maps_ahead *maps;
  struct stat stat;
  if (maps || file < 0) return maps;
  bool known = syscall(SYS_newfstatat, file, "", &stat, AT_EMPTY_PATH) == 0 && stat.st_size >= (off_t)sizeof *maps;
  void *at = known ? mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
  if (at != MAP_FAILED) maps = at;
  return maps;
}

static struct process_maps *find(uint32_t pid) {
  struct maps_ahead *maps = table();
  uint32_t count = maps ? atomic_load(&maps->count) : 0;
  for (uint32_t i = 0; i < count; i++)
    if (maps->processes[i].pid == pid) return &maps->processes[i];
  return NULL;
}

/* Those who read hold the pipe open: its end says that nobody does any more. */
static bool is_read(struct process_maps *process) {
  char byte;
  while (atomic_load(&process->state) == MAPS_AWAITED) {
    ssize_t count = read(told, &byte, 1);
    if (count == 0 || (count < 0 && errno != EINTR)) break;
  }
  return atomic_load(&process->state) == MAPS_READ;
}

/* A file of its own, since whoever reads it has its own place in it. */
static int copy(const struct process_maps *process) {
  char chunk[1 << 14];
  int own = (int)syscall(SYS_memfd_create, "smaps", 1u /* MFD_CLOEXEC */);
  if (own < 0) return -1;
  for (uint64_t done = 0; done < process->length;) {
    uint64_t left = process->length - done;
    ssize_t count = pread(file, chunk, left < sizeof chunk ? (size_t)left : sizeof chunk, (off_t)(process->offset + done));
    if (count <= 0 || write(own, chunk, (size_t)count) != count) {
      close(own);
      return -1;
    }
    done += (uint64_t)count;
  }
  lseek(own, 0, SEEK_SET);
  return own;
}

EXPORTED int openat(int directory, const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  unsigned mode = makes ? va_arg(list, unsigned) : 0;
  va_end(list);
  if (file >= 0 && strcmp(path, "smaps") == 0) {
    struct process_maps *process = find(process_at(directory, ""));
    int own = process && is_read(process) ? copy(process) : -1;
    if (own >= 0) return own;
  }
  return (int)syscall(SYS_openat, directory, path, flags, mode);
}

EXPORTED int openat64(int directory, const char *path, int flags, ...) __attribute__((alias("openat")));
