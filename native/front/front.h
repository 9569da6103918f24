/* One foreground job: hands the request to the control plane, shows output, passes on input and signals, ends as the job ends.
 * A lost control plane or agent is waited for. */
#ifndef MUSTER_FRONT_FRONT_H
#define MUSTER_FRONT_FRONT_H

/* `control` is connected to `path`. Returns the exit code; -1: nobody took the request, and nothing has been done. */
int front_run(const char *path, int control, int argc, char *const *argv, char *const *envp);

#endif
