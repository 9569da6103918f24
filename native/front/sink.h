/* Where output goes: the front's stdout and stderr. A sink that cannot take more says so and is waited for; it never makes the
 * front wait, so a stopped terminal does not stop Ctrl-C. The caller's own descriptors keep their flags: a terminal or a pipe
 * is opened anew for non-blocking writes, where that is allowed. */
#ifndef MUSTER_FRONT_SINK_H
#define MUSTER_FRONT_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum sink_kind { SINK_FILE, SINK_PIPE, SINK_TERMINAL, SINK_SOCKET };

struct stream;

struct sink {
  int fd;
  enum sink_kind kind;
  bool blocked;                /* wait for POLLOUT */
  int error;                   /* errno once nothing can be written any more; output is dropped then */
  struct stream *first, *last; /* streams with something to write */
  struct stream *owner;        /* in the middle of a chunk or a line: nobody else may write */
  uint64_t until;              /* the owner's chunk ends here */
  char *text;                  /* labelled lines, composed and not yet written */
  size_t text_length, text_written;
};

void sink_open(struct sink *sink, int fd);
/* Whether both are the same open file, so that lines of one would tear those of the other. */
bool sink_same(int a, int b);
/* Bytes taken, 0 when blocked or broken (see blocked, error). */
size_t sink_write(struct sink *sink, const void *bytes, size_t length);
/* From a file at `offset`; no copy when the sink is a pipe and `splice` is allowed. -1: the file has no byte there. */
ssize_t sink_copy(struct sink *sink, int file, uint64_t offset, size_t length, bool splice);

#endif
