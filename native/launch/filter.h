/* What a sandbox in a carrier may not ask of the kernel: the system calls that container runtimes keep from containers without
 * capabilities, in the manner of their default profiles. All else is allowed. It is there before the first program of an image
 * runs, and is saved and restored with the ranks.
 */
#ifndef MUSTER_FILTER_H
#define MUSTER_FILTER_H

#include "failure.h"

/* For the calling thread and all that comes of it. Needs no_new_privs. */
int filter_enter(struct failure *failure);

#endif
