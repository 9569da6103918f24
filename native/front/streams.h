/* The output of ranks as the front knows it: for each (sandbox ordinal, rank, stdout or stderr) the segments it was given, how
 * long the stream is said to be, and how far it has been copied. That offset belongs to the front alone, so whatever is told
 * twice after a lost connection is copied once. Relayed output of other machines is kept in memory files and treated alike. */
#ifndef MUSTER_FRONT_STREAMS_H
#define MUSTER_FRONT_STREAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "sink.h"

#define RELAYED 0xffffffffu /* the ordinal of relayed streams */

struct segment {
  uint64_t first;
  int fd;
};

struct stream {
  uint32_t ordinal, rank, which;
  uint64_t offset;  /* copied */
  uint64_t length;  /* said to be there */
  uint64_t scanned; /* no newline from offset up to here */
  bool ended, queued, mid_line;
  uint64_t shown;          /* written out; of a labelled line also what waits for its newline */
  uint64_t told;           /* of that told, see streams_tell */
  bool telling;            /* among those to be told of */
  uint32_t connection, id; /* its agent's number for it */
  uint32_t segments_used, segments_room;
  struct segment *segments; /* ascending */
  struct sink *sink;
  struct stream *next;      /* in the sink's queue */
  struct stream *next_told; /* among those to be told of */
};

struct streams {
  struct sink *out, *err;
  bool labels;
  bool tells;               /* what has been shown is to be told */
  uint64_t relayed_waiting; /* bytes held in memory files */
};

extern struct streams streams;

/* 0, or -ENOMEM, -E2BIG: more than anyone may ask for. `connection` numbers agents' connections: ids are theirs. */
int streams_segment(uint32_t connection, uint32_t id, uint32_t ordinal, uint32_t rank, uint32_t which, uint64_t first, int fd);
int streams_grew(uint32_t connection, uint32_t id, bool ended, uint64_t length);
/* Relayed bytes at `offset`; those known already are dropped. */
int streams_relayed(uint32_t rank, uint32_t which, uint64_t offset, const void *bytes, size_t length);
/* All streams of this ordinal have the length that is known now. */
void streams_end(uint32_t ordinal);
/* Copies a bounded amount to the sink. Whether there is more to do at once. */
bool streams_copy(struct sink *sink);
/* Where output has been shown to, of every stream of which enough is new. `send` says false when there is no room now. */
void streams_tell(bool (*send)(const struct stream *stream));
/* After a new connection of relayed streams: all is told again. */
void streams_tell_again(void);
/* Bytes that were promised and have not been copied. */
uint64_t streams_waiting(void);

#endif
