/* Everything that is not `run` with a control plane at hand: the command-line program in Node, put in this one's place. */
#ifndef MUSTER_FRONT_NODE_H
#define MUSTER_FRONT_NODE_H

/* Returns the exit code when it cannot be started, having said why. */
int node_exec(int argc, char *const *argv);

#endif
