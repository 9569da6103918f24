/* One system call made by a process that runs, without its knowledge: a userfaultfd of its memory can be made by nobody else. The process
 * is stopped for that moment (ptrace), on a thread of its own choice, and goes on where it was: system calls that were interrupted are
 * made again by the kernel. It knows x86-64.
 */
#ifndef MUSTER_TRACKER_INJECT_H
#define MUSTER_TRACKER_INJECT_H

#include <sys/types.h>

/* A userfaultfd of the process's memory, which the process itself does not hold; or -errno. */
int inject_userfaultfd(pid_t pid);

#endif
