/* The seccomp profile of a carrier Pod, as its runtime has put it in force: read from the process that waits there, so that nothing
 * has to be known of the runtime's files, and put in force for the sandbox too, beside the filter of filter.h.
 */
#ifndef MUSTER_PROFILE_H
#define MUSTER_PROFILE_H

#include "failure.h"

/* Of the process of this pidfd, which goes on waiting. Fails where it is under no filter at all. */
int profile_read(int carrier, struct failure *failure);

/* For the calling thread and all that comes of it; the last thing before exec, since it may refuse whatever it likes. */
int profile_enter(struct failure *failure);

#endif
