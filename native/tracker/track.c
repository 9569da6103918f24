/* See track.h. */
#include "track.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../common/pagemap-scan.h"
#include "inject.h"

/* Of Linux 6.7, newer than the headers that this is built with. */
enum { WP_UNPOPULATED = 1 << 13, WP_ASYNC = 1 << 15 };
enum { REGIONS = 1024 };

int spans_add(struct spans *spans, uint64_t start, uint64_t end) {
  if (spans->count > 0 && spans->all[spans->count - 1].end == start) {
    spans->all[spans->count - 1].end = end;
    return 0;
  }
  if (spans->count == spans->room) {
    size_t room = spans->room ? spans->room * 2 : 256;
    struct span *all = realloc(spans->all, room * sizeof *all);
    if (!all) return -ENOMEM;
    spans->all = all;
    spans->room = room;
  }
  spans->all[spans->count++] = (struct span){start, end};
  return 0;
}

uint64_t spans_bytes(const struct spans *spans) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < spans->count; i++) bytes += spans->all[i].end - spans->all[i].start;
  return bytes;
}

static FILE *open_text(pid_t pid, const char *name) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  return fopen(path, "re");
}

static int open_file(pid_t pid, const char *name) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

static uint32_t inner_pid(pid_t pid) {
  char line[512];
  uint32_t inner = (uint32_t)pid;
  FILE *status = open_text(pid, "status");
  if (!status) return 0;
  while (fgets(line, sizeof line, status))
    if (strncmp(line, "NSpid:", 6) == 0) inner = (uint32_t)strtoul(strrchr(line, '\t'), NULL, 10);
  fclose(status);
  return inner;
}

int track_open(struct tracked *process, pid_t pid) {
  *process = (struct tracked){.pid = pid, .inner = inner_pid(pid), .uffd = -1, .pagemap = -1, .memory = -1};
  process->pagemap = open_file(pid, "pagemap");
  process->memory = open_file(pid, "mem");
  if (process->inner == 0 || process->pagemap < 0 || process->memory < 0) {
    track_close(process);
    return -ESRCH;
  }
  int uffd = inject_userfaultfd(pid);
  struct uffdio_api api = {.api = UFFD_API, .features = WP_ASYNC | WP_UNPOPULATED};
  if (uffd < 0) return 0;
  if (ioctl(uffd, UFFDIO_API, &api) < 0) close(uffd);
  else process->uffd = uffd;
  return 0;
}

void track_close(struct tracked *process) {
  if (process->uffd >= 0) close(process->uffd);
  if (process->pagemap >= 0) close(process->pagemap);
  if (process->memory >= 0) close(process->memory);
  process->uffd = process->pagemap = process->memory = -1;
}

int track_mappings(struct tracked *process, struct spans *ranges) {
  char line[4096 + 256], flags[8];
  ranges->count = 0;
  FILE *maps = open_text(process->pid, "maps");
  if (!maps) return -ESRCH;
  while (fgets(line, sizeof line, maps)) {
    uint64_t start, end, inode;
    int name = 0;
    if (sscanf(line, "%lx-%lx %7s %*x %*s %lu %n", &start, &end, flags, &inode, &name) < 4) continue;
    const char *what = line + name;
    if (inode != 0 || flags[3] != 'p' || (what[0] == '[' && what[1] == 'v')) continue; /* vdso, vvar, vsyscall */
    struct uffdio_register watch = {.range = {start, end - start}, .mode = UFFDIO_REGISTER_MODE_WP};
    if (process->uffd >= 0) ioctl(process->uffd, UFFDIO_REGISTER, &watch); /* one that cannot be is not clean */
    if (spans_add(ranges, start, end) < 0) {
      fclose(maps);
      return -ENOMEM;
    }
  }
  fclose(maps);
  return 0;
}

int track_written(struct tracked *process, const struct spans *ranges, bool again, struct spans *written) {
  static struct region regions[REGIONS];
  written->count = 0;
  for (size_t i = 0; i < ranges->count; i++) {
    struct scan scan = {
        .size = sizeof scan,
        .flags = again ? WATCH_MATCHING : 0,
        .start = ranges->all[i].start,
        .end = ranges->all[i].end,
        .regions = (uint64_t)(uintptr_t)regions,
        .region_count = REGIONS,
        .any_of = IS_PRESENT | IS_SWAPPED,
        .told = IS_WATCHED | IS_WRITTEN,
    };
    /* What is not watched is copied in the end. */
    if (again) scan.all_of = IS_WATCHED | IS_WRITTEN;
    while (scan.start < scan.end) {
      int count = ioctl(process->pagemap, PAGEMAP_SCAN, &scan);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return errno == ESRCH ? -ESRCH : -errno;
      for (int r = 0; r < count; r++) {
        bool is_clean = (regions[r].categories & IS_WATCHED) && !(regions[r].categories & IS_WRITTEN);
        if (!is_clean && spans_add(written, regions[r].start, regions[r].end) < 0) return -ENOMEM;
      }
      if (scan.walk_end <= scan.start) break;
      scan.start = scan.walk_end;
    }
  }
  return 0;
}
