/* See streams.h. */
#include "streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
  MOST_STREAMS = 1 << 21,
  MOST_SEGMENTS = 1 << 16,
  CHUNK_BYTES = 1 << 18,
  LINE_BYTES = 1 << 12,
  READ_BYTES = 1 << 16,
  TEXT_BYTES = 1 << 18,
  LABEL_BYTES = 16,
  COPIES_A_TURN = 16,
  RELAY_SHRINK_BYTES = 1 << 20,
  TELL_BYTES = 1 << 18,
};

struct streams streams;

/* Two tables over one array: by (ordinal, rank, which), and by (connection, id). Open addressing, doubled when half full. */
struct entry {
  uint64_t key;
  uint64_t key2;
  struct stream *stream; /* by id: NULL while only growth has been told */
  uint64_t length;
  bool ended, used;
};
struct table {
  struct entry *entries;
  size_t room, used;
};
static struct table by_rank, by_id;

static size_t slot_of(const struct table *table, uint64_t key, uint64_t key2) {
  uint64_t hash = (key * 0x9e3779b97f4a7c15u) ^ ((key2 + 0x7f4a7c15u) * 0xc2b2ae3d27d4eb4fu);
  size_t slot = (size_t)(hash ^ (hash >> 32)) & (table->room - 1);
  while (table->entries[slot].used && (table->entries[slot].key != key || table->entries[slot].key2 != key2))
    slot = (slot + 1) & (table->room - 1);
  return slot;
}

/* The entry, made when missing; NULL when there is no room for more. */
static struct entry *entry_of(struct table *table, uint64_t key, uint64_t key2) {
  if (table->used * 2 >= table->room) {
    struct table larger = {.room = table->room ? table->room * 2 : 256};
    if (table->used >= MOST_STREAMS) return NULL;
    larger.entries = calloc(larger.room, sizeof *larger.entries);
    if (!larger.entries) return NULL;
    for (size_t i = 0; i < table->room; i++)
      if (table->entries[i].used)
        larger.entries[slot_of(&larger, table->entries[i].key, table->entries[i].key2)] = table->entries[i];
    larger.used = table->used;
    free(table->entries);
    *table = larger;
  }
  struct entry *entry = &table->entries[slot_of(table, key, key2)];
  if (!entry->used) {
    *entry = (struct entry){.key = key, .key2 = key2, .used = true};
    table->used++;
  }
  return entry;
}

static struct stream *stream_of(uint32_t ordinal, uint32_t rank, uint32_t which) {
  struct entry *entry = entry_of(&by_rank, (uint64_t)ordinal << 32 | rank, which);
  if (!entry) return NULL;
  if (!entry->stream) {
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream) return NULL;
    *stream = (struct stream){.ordinal = ordinal, .rank = rank, .which = which, .sink = which == 2 ? streams.err : streams.out};
    entry->stream = stream;
  }
  return entry->stream;
}

static void queue(struct stream *stream) {
  if (stream->queued || stream->sink->owner == stream || (stream->offset >= stream->length && !stream->mid_line)) return;
  stream->queued = true;
  stream->next = NULL;
  if (stream->sink->last) stream->sink->last->next = stream;
  else stream->sink->first = stream;
  stream->sink->last = stream;
}

static struct stream *dequeue(struct sink *sink) {
  struct stream *stream = sink->first;
  if (!stream) return NULL;
  sink->first = stream->next;
  if (!sink->first) sink->last = NULL;
  stream->queued = false;
  return stream;
}

/* What has been shown, told or not. */

static struct stream *to_tell;

static void touch(struct stream *stream) {
  if (!streams.tells || stream->telling) return;
  stream->telling = true;
  stream->next_told = to_tell;
  to_tell = stream;
}

/* All that was composed for this sink has been written. */
static void all_shown(const struct sink *sink) {
  for (struct stream *stream = to_tell; stream; stream = stream->next_told)
    if (stream->sink == sink && stream->shown < stream->offset) stream->shown = stream->offset;
}

void streams_tell(bool (*send)(const struct stream *stream)) {
  struct stream **link = &to_tell;
  while (*link) {
    struct stream *stream = *link;
    uint64_t news = stream->shown > stream->told ? stream->shown - stream->told : 0;
    bool due = news >= TELL_BYTES || (news > 0 && stream->shown >= stream->length);
    if (due && send(stream)) stream->told = stream->shown;
    if (stream->told == stream->shown && stream->shown >= stream->offset) {
      *link = stream->next_told;
      stream->telling = false;
    } else {
      link = &stream->next_told;
    }
  }
}

void streams_tell_again(void) {
  for (size_t i = 0; i < by_rank.room; i++) {
    struct stream *stream = by_rank.entries[i].stream;
    if (!stream || stream->ordinal != RELAYED) continue;
    stream->told = 0;
    touch(stream);
  }
}

static void drop_segments(struct stream *stream, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) close(stream->segments[i].fd);
  stream->segments_used -= count;
  memmove(stream->segments, stream->segments + count, stream->segments_used * sizeof *stream->segments);
}

static int add_segment(struct stream *stream, uint64_t first, int fd) {
  uint32_t at = stream->segments_used;
  while (at > 0 && stream->segments[at - 1].first >= first) {
    /* Told again after a lost connection: the same file, or what another agent has of it since the ranks have moved. */
    if (stream->segments[--at].first == first) {
      close(stream->segments[at].fd);
      stream->segments[at].fd = fd;
      return 0;
    }
  }
  if (stream->segments_used == stream->segments_room) {
    uint32_t room = stream->segments_room ? stream->segments_room * 2 : 1;
    if (room > MOST_SEGMENTS) return -E2BIG;
    struct segment *larger = realloc(stream->segments, room * sizeof *larger);
    if (!larger) return -ENOMEM;
    stream->segments = larger;
    stream->segments_room = room;
  }
  memmove(stream->segments + at + 1, stream->segments + at, (stream->segments_used - at) * sizeof *stream->segments);
  stream->segments[at] = (struct segment){first, fd};
  stream->segments_used++;
  return 0;
}

static void grow(struct stream *stream, bool ended, uint64_t length) {
  if (length > stream->length) stream->length = length;
  if (ended) stream->ended = true;
  if (stream->offset >= stream->length && stream->ended) drop_segments(stream, stream->segments_used);
  queue(stream);
}

int streams_segment(uint32_t connection, uint32_t id, uint32_t ordinal, uint32_t rank, uint32_t which, uint64_t first, int fd) {
  struct stream *stream = stream_of(ordinal, rank, which);
  struct entry *entry = stream ? entry_of(&by_id, connection, id) : NULL;
  int result = entry ? add_segment(stream, first, fd) : -E2BIG;
  if (result != 0) {
    close(fd);
    return result;
  }
  entry->stream = stream;
  if (stream->connection != connection) {
    stream->connection = connection;
    stream->id = id;
    stream->told = 0;
    touch(stream);
  }
  /* Segments that were copied to their end already. */
  uint32_t done = 0;
  while (done + 1 < stream->segments_used && stream->segments[done + 1].first <= stream->offset) done++;
  drop_segments(stream, done);
  grow(stream, entry->ended, entry->length);
  return 0;
}

int streams_grew(uint32_t connection, uint32_t id, bool ended, uint64_t length) {
  struct entry *entry = entry_of(&by_id, connection, id);
  if (!entry) return -E2BIG;
  if (length > entry->length) entry->length = length;
  if (ended) entry->ended = true;
  if (entry->stream) grow(entry->stream, entry->ended, entry->length);
  return 0;
}

/* Relayed since the rank has left this machine: what is known of it from here is not shown again. */
static void follow_local(struct stream *relayed) {
  for (size_t i = 0; i < by_rank.room; i++) {
    const struct stream *stream = by_rank.entries[i].stream;
    if (!stream || stream == relayed || stream->rank != relayed->rank || stream->which != relayed->which) continue;
    relayed->offset = relayed->shown = relayed->told = relayed->length = stream->length;
    return;
  }
}

int streams_relayed(uint32_t rank, uint32_t which, uint64_t offset, const void *bytes, size_t length) {
  struct stream *stream = stream_of(RELAYED, rank, which);
  if (!stream) return -E2BIG;
  if (stream->segments_used == 0 && stream->length == 0) follow_local(stream);
  if (stream->segments_used == 0) {
    int fd = memfd_create("muster-relayed", MFD_CLOEXEC);
    if (fd < 0) return -errno;
    int result = add_segment(stream, stream->length, fd);
    if (result != 0) {
      close(fd);
      return result;
    }
  }
  if (offset > stream->length) return -EPROTO;
  uint64_t known = stream->length - offset;
  if (known >= length) return 0;
  const char *from = (const char *)bytes + known;
  length -= (size_t)known;
  for (size_t done = 0; done < length;) {
    ssize_t count =
        pwrite(stream->segments[0].fd, from + done, length - done, (off_t)(stream->length + done - stream->segments[0].first));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 ? -errno : -EIO;
    done += (size_t)count;
  }
  streams.relayed_waiting += length;
  grow(stream, false, stream->length + length);
  return 0;
}

void streams_end(uint32_t ordinal) {
  for (size_t i = 0; i < by_rank.room; i++) {
    struct entry *entry = &by_rank.entries[i];
    if (entry->used && entry->stream && entry->stream->ordinal == ordinal) grow(entry->stream, true, 0);
  }
}

uint64_t streams_waiting(void) {
  uint64_t sum = 0;
  for (size_t i = 0; i < by_rank.room; i++) {
    const struct stream *stream = by_rank.entries[i].stream;
    if (stream && stream->length > stream->offset && !stream->sink->error) sum += stream->length - stream->offset;
  }
  return sum;
}

/* The segment that holds this offset, NULL when it has not been given yet. */
static const struct segment *segment_at(const struct stream *stream, uint64_t offset) {
  for (uint32_t i = stream->segments_used; i > 0; i--)
    if (stream->segments[i - 1].first <= offset) return &stream->segments[i - 1];
  return NULL;
}

/* How far the segment reaches at most. */
static uint64_t segment_end(const struct stream *stream, const struct segment *segment) {
  bool last = segment == &stream->segments[stream->segments_used - 1];
  return last ? stream->length : segment[1].first < stream->length ? segment[1].first : stream->length;
}

static void advance(struct stream *stream, size_t count) {
  stream->offset += count;
  touch(stream);
  if (!streams.labels) stream->shown = stream->offset;
  if (stream->ordinal == RELAYED) {
    streams.relayed_waiting -= count;
    struct segment *memory = &stream->segments[0];
    if (stream->offset == stream->length && stream->offset - memory->first > RELAY_SHRINK_BYTES && ftruncate(memory->fd, 0) == 0)
      memory->first = stream->offset;
    return;
  }
  uint32_t done = 0;
  while (done + 1 < stream->segments_used && stream->segments[done + 1].first <= stream->offset) done++;
  if (done > 0) drop_segments(stream, done);
  if (stream->offset >= stream->length && stream->ended) drop_segments(stream, stream->segments_used);
}

/* Log rotation may have taken what had not been copied. */
static bool skip_gap(struct stream *stream) {
  if (stream->segments_used == 0 || stream->segments[0].first <= stream->offset) return false;
  uint64_t missing = stream->segments[0].first - stream->offset;
  dprintf(2, "muster: %llu bytes of %s of rank %u were rotated away before they could be shown\n", (unsigned long long)missing,
          stream->which == 2 ? "stderr" : "stdout", stream->rank);
  stream->offset = stream->shown = stream->segments[0].first;
  return true;
}

/* Where what is shown at once ends: of more than a chunk with its last line, so that another rank's does not begin within one. */
static uint64_t chunk_end(const struct stream *stream) {
  char text[LINE_BYTES];
  uint64_t end = stream->offset + CHUNK_BYTES, from = end - sizeof text;
  if (stream->length <= end) return stream->length;
  const struct segment *segment = segment_at(stream, from);
  ssize_t count = segment ? pread(segment->fd, text, sizeof text, (off_t)(from - segment->first)) : -1;
  const char *newline = count > 0 ? memrchr(text, '\n', (size_t)count) : NULL;
  return newline ? from + (uint64_t)(newline - text) + 1 : end;
}

/* One chunk, as it is. False: nothing could be done now. */
static bool copy_plain(struct sink *sink, struct stream *stream) {
  if (!sink->owner) {
    sink->owner = stream;
    sink->until = chunk_end(stream);
  }
  const struct segment *segment = segment_at(stream, stream->offset);
  if (!segment && skip_gap(stream)) {
    segment = segment_at(stream, stream->offset);
    sink->until = chunk_end(stream);
  }
  uint64_t end = segment ? segment_end(stream, segment) : 0;
  if (end > sink->until) end = sink->until;
  ssize_t count = -1;
  if (segment && end > stream->offset)
    count =
        sink_copy(sink, segment->fd, stream->offset - segment->first, (size_t)(end - stream->offset), stream->ordinal != RELAYED);
  if (count > 0) advance(stream, (size_t)count);
  /* -1: the rest stands in a segment that has not been given yet; its arrival queues the stream again. */
  if (count < 0 || stream->offset >= sink->until) {
    sink->owner = NULL;
    if (count >= 0) queue(stream);
  }
  return count != 0;
}

/* Whether a newline stands anywhere from `from` up to what is there. Remembers how far it has looked. */
static bool newline_ahead(struct stream *stream, uint64_t from) {
  static char bytes[READ_BYTES];
  if (stream->scanned < from) stream->scanned = from;
  while (stream->scanned < stream->length) {
    const struct segment *segment = segment_at(stream, stream->scanned);
    if (!segment) return false;
    uint64_t end = segment_end(stream, segment);
    size_t want = end - stream->scanned < sizeof bytes ? (size_t)(end - stream->scanned) : sizeof bytes;
    ssize_t got = pread(segment->fd, bytes, want, (off_t)(stream->scanned - segment->first));
    if (got <= 0) return false;
    if (memchr(bytes, '\n', (size_t)got)) return true;
    stream->scanned += (uint64_t)got;
  }
  return false;
}

static void append(struct sink *sink, const char *bytes, size_t length) {
  memcpy(sink->text + sink->text_length, bytes, length);
  sink->text_length += length;
}

static void append_label(struct sink *sink, const struct stream *stream) {
  sink->text_length += (size_t)snprintf(sink->text + sink->text_length, LABEL_BYTES, "[%u] ", stream->rank);
}

/* Whole lines with labels into the sink's text. A line longer than a read, or of which a part stands in a segment that has not
 * been given yet, keeps the sink until it is whole. False: nothing could be done now. */
static bool compose(struct sink *sink, struct stream *stream) {
  static char bytes[READ_BYTES];
  sink->owner = stream->mid_line ? stream : NULL;
  const struct segment *segment = segment_at(stream, stream->offset);
  if (!segment && skip_gap(stream)) segment = segment_at(stream, stream->offset);
  if (!segment) return false;
  uint64_t end = segment_end(stream, segment);
  size_t want = end - stream->offset < sizeof bytes ? (size_t)(end - stream->offset) : sizeof bytes;
  ssize_t got = want > 0 ? pread(segment->fd, bytes, want, (off_t)(stream->offset - segment->first)) : 0;
  if (got <= 0) return false;
  size_t used = 0;
  bool full = false;
  while (used < (size_t)got) {
    const char *newline = memchr(bytes + used, '\n', (size_t)got - used);
    if (!newline) break;
    size_t length = (size_t)(newline - (bytes + used)) + 1;
    full = sink->text_length + length + LABEL_BYTES > TEXT_BYTES - READ_BYTES;
    if (full) break;
    if (!stream->mid_line) append_label(sink, stream);
    append(sink, bytes + used, length);
    stream->mid_line = false;
    used += length;
  }
  size_t rest = (size_t)got - used;
  uint64_t after = stream->offset + (uint64_t)got;
  if (rest > 0 && !full && used == 0) {
    bool last = stream->ended && after >= stream->length;
    if (last || stream->mid_line || newline_ahead(stream, after) || stream->ended) {
      if (!stream->mid_line) append_label(sink, stream);
      append(sink, bytes, rest);
      used = rest;
      stream->mid_line = !last;
      if (last) append(sink, "\n", 1);
    } else if (stream->shown < stream->scanned) {
      /* The rank must not wait for its reader while the reader waits for the rank's newline. */
      stream->shown = stream->scanned;
      touch(stream);
    }
  }
  bool any = used > 0;
  if (any) advance(stream, used);
  sink->owner = stream->mid_line ? stream : NULL;
  if (!stream->mid_line && (any || full)) queue(stream);
  return any || full;
}

static bool flush(struct sink *sink) {
  while (sink->text_written < sink->text_length) {
    size_t count = sink_write(sink, sink->text + sink->text_written, sink->text_length - sink->text_written);
    if (count == 0) return false;
    sink->text_written += count;
  }
  sink->text_written = sink->text_length = 0;
  all_shown(sink);
  return true;
}

static bool copy_labelled(struct sink *sink) {
  if (!sink->text) sink->text = malloc(TEXT_BYTES);
  if (!sink->text) {
    sink->error = ENOMEM;
    return false;
  }
  if (!flush(sink)) return false;
  bool done = false;
  while (sink->text_length < READ_BYTES) {
    struct stream *stream = sink->owner ? sink->owner : dequeue(sink);
    if (!stream) break;
    if (compose(sink, stream)) done = true;
    else if (sink->owner) break;
  }
  return flush(sink) && done;
}

bool streams_copy(struct sink *sink) {
  bool news = true;
  for (int i = 0; i < COPIES_A_TURN && news && !sink->blocked && !sink->error; i++) {
    if (streams.labels) {
      news = copy_labelled(sink);
      continue;
    }
    struct stream *stream = sink->owner ? sink->owner : dequeue(sink);
    if (!stream) break;
    copy_plain(sink, stream);
  }
  /* What nobody can see any more is passed over. */
  if (sink->error) {
    sink->owner = NULL;
    while (dequeue(sink)) continue;
    return false;
  }
  return news && !sink->blocked && (sink->first || sink->owner || sink->text_length > 0);
}
