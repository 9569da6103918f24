/* Where and why building a sandbox failed: one record, filled where the error is born, printed once by main.
 *
 * Functions of launch return 0, or -1 after they filled the record.
 */
#ifndef MUSTER_FAILURE_H
#define MUSTER_FAILURE_H

#include "../common/ready.h"

struct failure {
  const char *stage;
  int error; /* errno; 0: the text is in `path` alone */
  char path[sizeof(((struct ready_report *)0)->path)];
};

/* Fills the record from errno; returns -1. `path` may be NULL. */
int failed(struct failure *failure, const char *stage, const char *path);
int failed_with(struct failure *failure, const char *stage, const char *path, int error);

#endif
