/* Starts a program of the folder that scripts/criu.sh makes through the dynamic loader and the libraries in that folder: `bin/criu`
 * and `tools/tar`, by the name it has. It is static, and asks nothing of the machine: CRIU runs in the node's own mounts, where there may
 * be neither a shell nor tar. Descriptors are handed on, as `criu swrk FD` needs it.
 *   LOADER, LIBRARIES   within the folder; given when it is compiled
 *
 * CRIU packs the files of a tmpfs by `tar --gzip`, which costs 30 times the time of the dump itself: this tar leaves gzip out.
 * Where root lacks CAP_SYS_RESOURCE, shim.c lets CRIU read resource limits all the same.
 */
#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BEFORE = 8 };

static const char *within(const char *folder, const char *path) {
  char *text;
  return asprintf(&text, "%s/%s", folder, path) < 0 ? NULL : text;
}

/* FOLDER/bin/criu and FOLDER/tools/tar: cut off twice. */
static bool split(char *path, const char **name) {
  char *slash = strrchr(path, '/');
  if (!slash) return false;
  *slash = 0;
  *name = slash + 1;
  slash = strrchr(path, '/');
  if (!slash) return false;
  *slash = 0;
  return true;
}

static bool may_limit(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct held[_LINUX_CAPABILITY_U32S_3] = {0};
  if (syscall(SYS_capget, &header, held) < 0) return true;
  return (held[0].effective & (1u << CAP_SYS_RESOURCE)) != 0;
}

int main(int argc, char **argv) {
  static char folder[PATH_MAX];
  const char *name;
  /* Links to it lead here; without /proc it goes by the name that it was started by. */
  if (readlink("/proc/self/exe", folder, sizeof folder - 1) < 0)
    snprintf(folder, sizeof folder, "%s", (const char *)getauxval(AT_EXECFN));
  if (!split(folder, &name)) {
    fprintf(stderr, "%s is to be started by a path like FOLDER/bin/criu\n", argv[0]);
    return 127;
  }
  bool is_criu = strcmp(name, "criu") == 0;
  const char *loader = within(folder, LOADER), *shim = within(folder, "shim.so");
  const char *program = within(folder, is_criu ? "root/usr/sbin/criu" : "root/usr/bin/tar");
  char *libraries, *path;
  const char *before = getenv("PATH");
  const char **arguments = calloc((size_t)argc + BEFORE, sizeof *arguments);
  if (!arguments || !loader || !shim || !program ||
      asprintf(&libraries, "%s/%s:%s/root/usr/lib", folder, LIBRARIES, folder) < 0 ||
      asprintf(&path, "%s/tools:%s", folder, before ? before : "/usr/sbin:/usr/bin:/sbin:/bin") < 0 ||
      setenv("PATH", path, 1) < 0)
    return 127;
  int count = 0;
  arguments[count++] = name;
  arguments[count++] = "--library-path";
  arguments[count++] = libraries;
  if (is_criu && !may_limit()) {
    arguments[count++] = "--preload";
    arguments[count++] = shim;
  }
  arguments[count++] = program;
  for (int i = 1; i < argc; i++)
    if (is_criu || strcmp(argv[i], "--gzip") != 0) arguments[count++] = argv[i];
  execv(loader, (char *const *)arguments);
  fprintf(stderr, "%s: %s\n", loader, strerror(errno));
  return 127;
}
