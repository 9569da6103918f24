/* The sandbox's cgroups, one in each hierarchy asked for: made, set, entered, and removed again when launching fails.
 *
 * Only directories that this call made are removed. It knows both versions: a new v1 cpuset is given its parent's
 * processors and memory nodes, and controllers that settings need are enabled from the top of a v2 hierarchy down.
 * Moving a whole process makes the kernel wait 5 to 20 ms for all processors (an RCU grace period); a process that is born
 * in its cgroup (v2), or a thread that moves itself (v1: pid 1 has one), does not.
 */
#ifndef MUSTER_CGROUPS_H
#define MUSTER_CGROUPS_H

#include <stdbool.h>
#include <sys/types.h>

#include "options.h"

struct cgroups {
  int count;
  int entrances[CGROUPS_MAX]; /* cgroup.procs (v2) or tasks (v1), open for writing */
  int unified;                /* which of them is v2, -1 = none; its directory, to be born in: */
  int unified_directory;
  bool born_inside;
  int made_count;
  char *made[CGROUPS_MAX * 8]; /* directories, outermost first */
};

int cgroups_make(const struct options *options, struct cgroups *cgroups, struct failure *failure);

/* As fork(2) with these clone flags, and the child is born in the v2 cgroup where the kernel lets it be. */
pid_t cgroups_clone(struct cgroups *cgroups, unsigned long flags);

/* Called by the sandbox's first process: puts itself into all of them that it was not born in. */
int cgroups_enter(const struct cgroups *cgroups, const struct options *options, struct failure *failure);

void cgroups_remove(struct cgroups *cgroups);

#endif
