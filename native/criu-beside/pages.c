/* See beside.h. Of what the kernel tells CRIU of the pages of processes (PAGEMAP_SCAN) the ranges that the agent has named are taken out, and
 * noted. All that CRIU would do with pages that it leaves to somebody else, pinning each in a pipe that nobody reads, is so not done while
 * ranks stand still. What CRIU was not told stands in the file before CRIU goes on: what cannot be noted fails the dump. A CRIU that
 * reads page maps in another way sees all pages, and names them in its image.
 */
#include "beside.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/pagemap-scan.h"

enum { PAGE = 4096, NOTES = 512 };

static const struct apart *ranges;
static size_t range_count;
static int named = -1, found = -1;
static struct region *kept;
static uint64_t kept_room;
static struct missing notes[NOTES];
static size_t note_count;

void pages_begin(int ranges_named, int noted) {
  named = ranges_named;
  found = noted;
}

/* They are named after CRIU has been started, and before it is asked anything. */
static bool has_ranges(void) {
  if (ranges || named < 0) return ranges;
  off_t bytes = lseek(named, 0, SEEK_END);
  const void *at = bytes > 0 ? mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, named, 0) : MAP_FAILED;
  named = -1;
  if (at == MAP_FAILED) return false;
  ranges = at;
  range_count = (size_t)bytes / sizeof *ranges;
  return true;
}

static int flush_notes(void) {
  const char *at = (const char *)notes;
  for (size_t left = note_count * sizeof *notes; left > 0;) {
    ssize_t count = write(found, at, left);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return -1;
    at += count;
    left -= (size_t)count;
  }
  note_count = 0;
  return 0;
}

static int note(uint32_t inner, uint64_t start, uint64_t end) {
  while (start < end) {
    uint64_t pages = (end - start) / PAGE;
    if (pages > UINT32_MAX) pages = UINT32_MAX;
    if (note_count == NOTES && flush_notes() < 0) return -1;
    notes[note_count++] = (struct missing){inner, (uint32_t)pages, start};
    start += pages * PAGE;
  }
  return 0;
}

/* The first range of the process that ends after the address. */
static size_t range_at(uint32_t pid, uint64_t address) {
  size_t low = 0, high = range_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const struct apart *range = &ranges[middle];
    if (range->pid < pid || (range->pid == pid && range->end <= address)) low = middle + 1;
    else high = middle;
  }
  return low;
}

static bool reaches(size_t range, uint32_t pid, uint64_t end) {
  return range < range_count && ranges[range].pid == pid && ranges[range].start < end;
}

/* The regions that are left for CRIU, in their place; -1: not all that was taken out could be noted. */
static long take_out(uint32_t pid, struct region *regions, uint64_t count, uint64_t room) {
  if (kept_room < room) {
    void *more = mmap(NULL, room * sizeof *kept, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (more == MAP_FAILED) return -1;
    if (kept) munmap(kept, kept_room * sizeof *kept);
    kept = more;
    kept_room = room;
  }
  uint64_t left = 0;
  for (uint64_t i = 0; i < count; i++) {
    struct region region = regions[i];
    size_t range = range_at(pid, region.start), last = range;
    while (reaches(last, pid, region.end)) last++;
    /* One more than ranges can be left of it, and each that is to come yet needs its place. */
    bool fits = left + (last - range) + 1 + (count - i - 1) <= room;
    if (last == range || (region.categories & IS_GUARD) != 0 || !fits) {
      kept[left++] = region;
      continue;
    }
    uint64_t at = region.start;
    for (; range < last; range++) {
      uint64_t start = ranges[range].start > at ? ranges[range].start : at;
      uint64_t end = ranges[range].end < region.end ? ranges[range].end : region.end;
      if (at < start) kept[left++] = (struct region){at, start, region.categories};
      if (note(ranges[range].inner, start, end) < 0) return -1;
      at = end;
    }
    if (at < region.end) kept[left++] = (struct region){at, region.end, region.categories};
  }
  if (flush_notes() < 0) return -1;
  memcpy(regions, kept, left * sizeof *kept);
  return (long)left;
}

/* Within one range all is anonymous. Whether a page is of a file the kernel would look up for each of them, which takes nearly all its time. */
static struct scan simpler(const struct scan *scan, uint32_t pid) {
  struct scan simple = *scan;
  size_t range = range_at(pid, scan->start);
  if (!reaches(range, pid, scan->start + 1)) return simple;
  if (simple.end > ranges[range].end) simple.end = ranges[range].end;
  simple.inverted &= ~(uint64_t)IS_FILE;
  simple.all_of &= ~(uint64_t)IS_FILE;
  return simple;
}

EXPORTED int ioctl(int fd, unsigned long request, ...) {
  va_list list;
  va_start(list, request);
  void *argument = va_arg(list, void *);
  va_end(list);
  struct scan *scan = argument;
  uint32_t pid = request == PAGEMAP_SCAN && scan->flags == 0 && has_ranges() ? process_at(fd, "/pagemap") : 0;
  if (pid == 0) return (int)syscall(SYS_ioctl, fd, request, argument);
  struct scan simple = simpler(scan, pid);
  long result = syscall(SYS_ioctl, fd, request, &simple);
  scan->walk_end = simple.walk_end;
  if (result <= 0) return (int)result;
  return (int)take_out(pid, (struct region *)(uintptr_t)scan->regions, (uint64_t)result, scan->region_count);
}
