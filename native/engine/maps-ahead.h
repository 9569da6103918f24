/* Reads what CRIU will ask of the mappings of frozen processes (../common/maps-ahead.h), while it does other things. */
#ifndef MUSTER_ENGINE_MAPS_AHEAD_H
#define MUSTER_ENGINE_MAPS_AHEAD_H

#include <stdbool.h>
#include <sys/types.h>

struct maps_files {
  int file, told, teller; /* CRIU has the first two */
};

bool maps_open(struct maps_files *files);
/* Closes the teller. */
void maps_begin(const struct maps_files *files, const pid_t *pids, int count);
void maps_end(void);

#endif
