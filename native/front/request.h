/* What `muster run` was called with, as a sealed memfd: arguments, environment, directory, umask, limits, terminals. */
#ifndef MUSTER_FRONT_REQUEST_H
#define MUSTER_FRONT_REQUEST_H

/* A descriptor or -errno. `argv` starts with "run". */
int request_make(int argc, char *const *argv, char *const *envp);

#endif
