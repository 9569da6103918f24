/* The sandbox's cgroups, one in each hierarchy asked for: made, set, entered, and removed again when launching fails.
 *
 * Only directories that this call made are removed. It knows both versions: a new v1 cpuset is given its parent's
 * processors and memory nodes, and controllers that settings need are enabled from the top of a v2 hierarchy down.
 */
#ifndef MUSTER_CGROUPS_H
#define MUSTER_CGROUPS_H

#include "options.h"

struct cgroups {
  int count;
  int procs[CGROUPS_MAX]; /* cgroup.procs, open for writing */
  int made_count;
  char *made[CGROUPS_MAX * 8]; /* directories, outermost first */
};

int cgroups_make(const struct options *options, struct cgroups *cgroups, struct failure *failure);

/* Called by the sandbox's first process: puts itself into all of them. */
int cgroups_enter(const struct cgroups *cgroups, const struct options *options, struct failure *failure);

void cgroups_remove(struct cgroups *cgroups);

#endif
