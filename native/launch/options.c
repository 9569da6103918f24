/* See options.h. Strings are cut in place. */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends `text` at the separator and returns what follows, or NULL. */
static char *cut(char *text, char separator) {
  char *at = strchr(text, separator);
  if (!at) return NULL;
  *at = 0;
  return at + 1;
}

/* "1000" stands for itself; "0,1000,1" is inside, outside, count. */
static bool parse_map(const char *text, struct id_map *map) {
  int used = 0;
  if (sscanf(text, "%u,%u,%u%n", &map->inside, &map->outside, &map->count, &used) == 3) return text[used] == 0;
  map->count = 1;
  if (sscanf(text, "%u%n", &map->inside, &used) != 1 || text[used] != 0) return false;
  map->outside = map->inside;
  return true;
}

static bool parse_slots(struct options *options, const char *value) {
  options->slots = value;
  long slots = strspn(value, "0123456789") == strlen(value) ? strtol(value, NULL, 10) : 0;
  return slots >= 1 && slots <= SLOTS_MAX;
}

static struct mount *new_mount(struct options *options) {
  return options->mounts_count < MOUNTS_MAX ? &options->mounts[options->mounts_count++] : NULL;
}

static bool parse_bind(struct options *options, char *value, bool carried) {
  char *target = cut(value, ':');
  struct mount *mount = new_mount(options);
  if (!mount || !target) return false;
  const char *mode = cut(target, ':');
  if (mode && strcmp(mode, "ro") != 0) return false;
  *mount = (struct mount){MOUNT_BIND, value, target, NULL, mode != NULL, carried, -1};
  return value[0] == '/' && target[0] == '/';
}

static bool parse_tmpfs(struct options *options, char *value) {
  char *mount_options = cut(value, ':');
  struct mount *mount = new_mount(options);
  if (!mount) return false;
  *mount = (struct mount){MOUNT_TMPFS, NULL, value, mount_options, false, false, -1};
  return value[0] == '/';
}

static bool parse_file(struct options *options, char *value) {
  const char *descriptor = cut(value, ':');
  struct mount *mount = new_mount(options);
  if (!mount || !descriptor) return false;
  *mount = (struct mount){MOUNT_FILE, NULL, value, NULL, true, false, atoi(descriptor)};
  return value[0] == '/' && mount->descriptor > 2;
}

static bool parse_cgroup(struct options *options, char *value) {
  char *path = cut(value, ':');
  if (!path || *path == 0 || *path == '/' || strstr(path, "..") || options->cgroups_count == CGROUPS_MAX) return false;
  options->cgroups[options->cgroups_count++] = (struct cgroup){value, path, options->settings_count, 0};
  return true;
}

static bool parse_setting(struct options *options, char *value) {
  char *text = cut(value, '=');
  if (!text || strchr(value, '/') || options->cgroups_count == 0 || options->settings_count == SETTINGS_MAX) return false;
  options->settings[options->settings_count++] = (struct setting){value, text};
  options->cgroups[options->cgroups_count - 1].settings_count++;
  return true;
}

static bool parse_device(struct options *options, char *value) {
  if (strncmp(value, "/dev/", 5) != 0 || strstr(value, "..") || options->devices_count == DEVICES_MAX) return false;
  options->devices[options->devices_count++] = value;
  return true;
}

static bool parse_maps(struct options *options, char *value) {
  const char *gids = cut(value, ':');
  options->user_namespace = true;
  return gids && parse_map(value, &options->uids) && parse_map(gids, &options->gids);
}

static bool parse_one(struct options *options, const char *name, char *value) {
  if (strcmp(name, "--init") == 0) options->init = value;
  else if (strcmp(name, "--slots") == 0) return parse_slots(options, value);
  else if (strcmp(name, "--hostname") == 0) options->hostname = value;
  else if (strcmp(name, "--root") == 0) options->root = value;
  else if (strcmp(name, "--net") == 0) options->network = value;
  else if (strcmp(name, "--cgroup") == 0) return parse_cgroup(options, value);
  else if (strcmp(name, "--cgroup-set") == 0) return parse_setting(options, value);
  else if (strcmp(name, "--bind") == 0) return parse_bind(options, value, false);
  else if (strcmp(name, "--carrier") == 0) return (options->carrier = atoi(value)) > 2;
  else if (strcmp(name, "--carrier-bind") == 0) return parse_bind(options, value, true);
  else if (strcmp(name, "--tmpfs") == 0) return parse_tmpfs(options, value);
  else if (strcmp(name, "--file") == 0) return parse_file(options, value);
  else if (strcmp(name, "--device") == 0) return parse_device(options, value);
  else if (strcmp(name, "--user-namespace") == 0) return parse_maps(options, value);
  else return false;
  return true;
}

int options_parse(int argc, char **argv, struct options *options, struct failure *failure) {
  *options = (struct options){.slots = "1024", .root = "/", .network = "host", .carrier = -1};
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--keep-namespaces") == 0) {
      options->keep_namespaces = true;
      continue;
    }
    if (strcmp(argv[i], "--carrier-profile") == 0) {
      options->carrier_profile = true;
      continue;
    }
    if (i + 1 == argc) return failed_with(failure, "arguments", argv[i], EINVAL);
    const char *name = argv[i++];
    char shown[sizeof failure->path];
    snprintf(shown, sizeof shown, "%s %s", name, argv[i]);
    if (!parse_one(options, name, argv[i])) return failed_with(failure, "arguments", shown, EINVAL);
  }
  if (!options->init) return failed_with(failure, "arguments", "--init is missing", EINVAL);
  return 0;
}
