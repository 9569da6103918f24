/* What launch was asked for: argv, cut into pieces. No secret stands in an argument: they are seen in /proc by everybody. */
#ifndef MUSTER_OPTIONS_H
#define MUSTER_OPTIONS_H

#include <stdbool.h>

#include "failure.h"

enum { MOUNTS_MAX = 256, CGROUPS_MAX = 16, SETTINGS_MAX = 128, DEVICES_MAX = 128, SLOTS_MAX = 65536 };

enum mount_kind { MOUNT_BIND, MOUNT_TMPFS, MOUNT_FILE };

struct mount {
  enum mount_kind kind;
  char *source; /* of a bind */
  char *target;
  char *options; /* of a tmpfs */
  bool read_only;
  bool carried;   /* of a bind: its source is in the carrier */
  int descriptor; /* MOUNT_FILE: where its content is read; MOUNT_BIND: the cloned tree, once opened */
};

struct cgroup {
  char *hierarchy; /* where it is mounted */
  char *path;      /* below it */
  int settings_first, settings_count;
};

struct setting {
  char *file; /* in the cgroup */
  char *value;
};

struct id_map {
  unsigned inside, outside, count;
};

struct options {
  const char *init;
  const char *slots;
  const char *hostname;
  const char *root;
  const char *network; /* "host", "new", or a path */
  int carrier;         /* pidfd of the process whose root, and whose network where that is "host", it gets; -1 */
  bool carrier_profile;
  bool keep_namespaces;
  bool user_namespace;
  struct id_map uids, gids;
  int mounts_count, cgroups_count, settings_count, devices_count;
  struct mount mounts[MOUNTS_MAX];
  struct cgroup cgroups[CGROUPS_MAX];
  struct setting settings[SETTINGS_MAX];
  char *devices[DEVICES_MAX];
};

int options_parse(int argc, char **argv, struct options *options, struct failure *failure);

#endif
