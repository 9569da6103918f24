/* The table of mounts of a sandbox, and nothing but it: what `cat /proc/self/mountinfo` shows inside is what stands here.
 *
 *   /            the root, bound without what is mounted below it      /proc      its own
 *   /dev         tmpfs: null zero full random urandom tty, devices     /sys       read only
 *   /dev/pts     its own instance                                      /tmp       tmpfs
 *   /dev/shm     tmpfs                                                 /run       tmpfs, empty
 *
 * then what was asked for: tmpfs, binds and generated files, in their order; a tmpfs on one of those above replaces it.
 * In a user namespace the kernel does not let single mounts be taken out: there the root keeps those below it.
 */
#ifndef MUSTER_MOUNTS_H
#define MUSTER_MOUNTS_H

#include "options.h"

/* Where rank-init is executed from: a copy that travels with the sandbox. */
#define INIT_PATH "/dev/.muster/rank-init"

/* Called in a mount namespace of its own; afterwards / is the sandbox's. `init` is an open descriptor of the program.
 * Targets of files that the root does not have are left out, and told in `skipped` as a comma-separated list. */
int mounts_build(struct options *options, int init, char *skipped, unsigned long skipped_bytes, struct failure *failure);

#endif
