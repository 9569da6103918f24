// What a process can give back of its memory without losing any: what malloc(3) holds free, and pages of programs and libraries that
// it has touched and cannot write, which are there again, from the page cache, when they are touched the next time. When that is
// worth it, others know.
#include <malloc.h>
#include <sys/mman.h>

#include <cerrno>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "call.h"
#include "functions.h"

namespace muster {

namespace {

constexpr int kLine = 4096 + 128; // a path, and what stands before it

// smaps(5): a mapping's line begins with its addresses, those of its figures with a name and a colon.
struct Mapping {
  unsigned long begin = 0, end = 0;
  bool unwritten = false; // private, of a file, without a page of its own
};

bool mappingOf(const char *line, Mapping *found) {
  char permissions[5];
  unsigned long begin, end, inode;
  int path = 0;
  if (sscanf(line, "%lx-%lx %4s %*x %*x:%*x %lu %n", &begin, &end, permissions, &inode, &path) != 4) return false;
  bool file = inode != 0 && path > 0 && line[path] == '/' && strncmp(line + path, "/memfd:", 7) != 0;
  *found = {begin, end, file && permissions[1] == '-' && permissions[3] == 'p'};
  return true;
}

napi_value giveBackMemory(napi_env env, napi_callback_info) {
  malloc_trim(0);
  FILE *maps = fopen("/proc/self/smaps", "re");
  if (!maps) return throwErrno(env, "fopen", errno, "/proc/self/smaps");
  char line[kLine];
  Mapping mapping;
  int64_t given = 0;
  unsigned long resident = 0, own;
  while (fgets(line, sizeof line, maps)) {
    if (mappingOf(line, &mapping) || sscanf(line, "Rss: %lu", &resident) == 1) continue;
    // The last of the two figures. Pages that were changed once, by relocation, would be lost.
    if (sscanf(line, "Anonymous: %lu", &own) != 1 || own != 0 || !mapping.unwritten || resident == 0) continue;
    if (madvise(reinterpret_cast<void *>(mapping.begin), mapping.end - mapping.begin, MADV_DONTNEED) == 0)
      given += static_cast<int64_t>(resident) * 1024;
  }
  fclose(maps);
  return number(env, given);
}

} // namespace

void defineMemory(napi_env env, napi_value exports) { method(env, exports, "giveBackMemory", giveBackMemory); }

} // namespace muster
