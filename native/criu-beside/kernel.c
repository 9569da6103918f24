/* See beside.h. CRIU tries what the kernel can each time that it is started, and keeps what it has found for the next in /run, unless that
 * is on a disk, as in many containers and virtual machines: it would outlive the kernel there. So it finds a file of the agent's in that place,
 * which is in memory, as long as the agent lives. CRIU itself looks whether what it finds there is its own.
 */
#include "beside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char kept[] = "/run/criu.kdat", next[] = "/run/criu.kdat.tmp";
static int kernel = -1;

void kernel_begin(int descriptor) { kernel = descriptor; }

static bool is(const char *path, const char *other) { return kernel >= 0 && path && strcmp(path, other) == 0; }

static int open_kernel(int flags) {
  char path[40] = "/proc/self/fd/", digits[16];
  size_t at = strlen(path), count = 0;
  for (int rest = kernel; count == 0 || rest > 0; rest /= 10) digits[count++] = (char)('0' + rest % 10);
  while (count > 0) path[at++] = digits[--count];
  path[at] = 0;
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

static int open_as(const char *path, int flags, unsigned mode) {
  if (is(path, kept)) return open_kernel(O_RDONLY);
  if (is(path, next)) {
    if (lseek(kernel, 0, SEEK_END) == 0) return open_kernel(O_WRONLY);
    errno = EEXIST; /* another was faster */
    return -1;
  }
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static unsigned mode_of(int flags, va_list list) {
  bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  return makes ? va_arg(list, unsigned) : 0;
}

EXPORTED int open(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  unsigned mode = mode_of(flags, list);
  va_end(list);
  return open_as(path, flags, mode);
}

EXPORTED int open64(const char *path, int flags, ...) __attribute__((alias("open")));

EXPORTED int rename(const char *from, const char *to) {
  if (is(from, next)) return 0;
  return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

EXPORTED int unlink(const char *path) {
  if (is(path, kept)) return ftruncate(kernel, 0); /* it is of another CRIU */
  return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
