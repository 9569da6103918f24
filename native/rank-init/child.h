/* From fork to exec: what a new process does to itself before it becomes the user's program.
 *
 * It runs in the child only, trusts the checked START file, and ends either in exec or in one record on the failure pipe
 * that says at which stage and with which errno it gave up: so "could not start" is never an exit code.
 */
#ifndef MUSTER_CHILD_H
#define MUSTER_CHILD_H

#include <sys/resource.h>

#include "start-file.h"
#include "stdio.h"

/* What all children of one START have in common. */
struct child_setting {
  const void *file;         /* the mapped START file */
  struct rlimit open_files; /* rank-init's own limit before it raised it */
};

_Noreturn void child_run(const struct child_setting *setting, const struct start_view *view, const struct stdio *stdio,
                         uint32_t slot);

#endif
