/* PAGEMAP_SCAN of ioctl(2) on /proc/PID/pagemap: Documentation/admin-guide/mm/pagemap.rst of Linux 6.7, which is newer than the headers that
 * this is built with. */
#ifndef MUSTER_COMMON_PAGEMAP_SCAN_H
#define MUSTER_COMMON_PAGEMAP_SCAN_H

#include <stdint.h>
#include <sys/ioctl.h>

/* Of pages, as categories of a region. */
enum { IS_WATCHED = 1 << 0, IS_WRITTEN = 1 << 1, IS_FILE = 1 << 2, IS_PRESENT = 1 << 3, IS_SWAPPED = 1 << 4, IS_GUARD = 1 << 8 };
/* Of scan.flags: what matches is write-protected. */
enum { WATCH_MATCHING = 1 << 0 };

struct region {
  uint64_t start, end, categories;
};

struct scan {
  uint64_t size, flags, start, end, walk_end, regions, region_count, most_pages;
  uint64_t inverted, all_of, any_of, told;
};

#define PAGEMAP_SCAN _IOWR('f', 16, struct scan)

#endif
