/* See sandboxes.h. */
#include "sandboxes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "input.h"
#include "protocol.h"
#include "streams.h"

enum { MOST_SANDBOXES = 65536, LONGEST_PATH = 4096, LONGEST_REFUSAL = 4096, PACKETS_A_TURN = 64, SANDBOX_TAKES_INPUT = 1 };
static const uint64_t RETRY_NS = 100000000;
static const uint64_t SERVED_NS = 1000000000; /* an agent that kept a connection this long had taken it */
static const uint64_t GIVE_UP_NS = 30000000000u;

struct sandboxes sandboxes;

static char job_uid[256], job_token[512];
static uint32_t connections;

void sandboxes_of(const char *uid, const char *token) {
  snprintf(job_uid, sizeof job_uid, "%s", uid);
  snprintf(job_token, sizeof job_token, "%s", token);
}

static void disconnect(struct sandbox *sandbox, uint64_t now) {
  bool served = sandbox->fd >= 0 && now - sandbox->connected_ns > SERVED_NS;
  if (sandbox->fd >= 0) close(sandbox->fd);
  sandbox->fd = -1;
  sandbox->retry_ns = now + RETRY_NS;
  if (served || sandbox->give_up_ns == 0) sandbox->give_up_ns = now + GIVE_UP_NS;
}

static void connect_one(struct sandbox *sandbox, uint64_t now) {
  char words[1024];
  int length = snprintf(words, sizeof words, "%s %u %u %s", job_uid, sandbox->ordinal, sandbox->incarnation, job_token);
  int fd = packet_connect(sandbox->path);
  if (fd >= 0) {
    sandbox->fd = fd;
    sandbox->connection = ++connections;
    sandbox->connected_ns = now;
    if (length < (int)sizeof words && packet_send(fd, FRONT_OPEN, words, (size_t)length, -1) == 0) {
      input_connected(sandbox->ordinal);
      return;
    }
  }
  disconnect(sandbox, now);
}

int sandboxes_named(const uint8_t *body, size_t length) {
  if (length < 12 || length - 12 >= LONGEST_PATH) return -EPROTO;
  uint32_t ordinal = read_u32(body), incarnation = read_u32(body + 4);
  struct sandbox *sandbox = NULL;
  for (size_t i = 0; i < sandboxes.count && !sandbox; i++)
    if (sandboxes.all[i].ordinal == ordinal) sandbox = &sandboxes.all[i];
  char *path = strndup((const char *)body + 12, length - 12);
  if (!path) return -ENOMEM;
  if (sandbox && sandbox->incarnation == incarnation && strcmp(sandbox->path, path) == 0) {
    free(path);
    return 0;
  }
  uint64_t now = clock_ns();
  if (*path == 0) {
    if (sandbox) {
      if (sandbox->ended) sandboxes.ended--;
      sandbox->ended = false;
      disconnect(sandbox, now);
      sandbox->given_up = true;
      if (sandbox->takes_input) input_gone(ordinal);
    }
    free(path);
    return 0;
  }
  if (!sandbox) {
    if (sandboxes.count >= MOST_SANDBOXES) {
      free(path);
      return -E2BIG;
    }
    struct sandbox *larger = realloc(sandboxes.all, (sandboxes.count + 1) * sizeof *larger);
    if (!larger) {
      free(path);
      return -ENOMEM;
    }
    sandboxes.all = larger;
    sandbox = &sandboxes.all[sandboxes.count++];
    *sandbox = (struct sandbox){.ordinal = ordinal, .fd = -1};
  } else {
    if (sandbox->ended) sandboxes.ended--;
    disconnect(sandbox, now);
    free(sandbox->path);
  }
  sandbox->incarnation = incarnation;
  sandbox->takes_input = (read_u32(body + 8) & SANDBOX_TAKES_INPUT) != 0;
  sandbox->path = path;
  sandbox->ended = sandbox->given_up = false;
  sandbox->give_up_ns = now + GIVE_UP_NS;
  connect_one(sandbox, now);
  return 0;
}

void sandboxes_connect(uint64_t now) {
  for (size_t i = 0; i < sandboxes.count; i++) {
    struct sandbox *sandbox = &sandboxes.all[i];
    if (sandbox->fd < 0 && !sandbox->ended && !sandbox->given_up && sandbox->retry_ns <= now) connect_one(sandbox, now);
  }
}

uint64_t sandboxes_due(void) {
  uint64_t due = 0;
  for (size_t i = 0; i < sandboxes.count; i++) {
    const struct sandbox *sandbox = &sandboxes.all[i];
    if (sandbox->fd < 0 && !sandbox->ended && !sandbox->given_up && (due == 0 || sandbox->retry_ns < due))
      due = sandbox->retry_ns;
  }
  return due;
}

/* 0, or a negative errno that ends the connection. */
static int take(struct sandbox *sandbox, struct packet *packet) {
  int fd = packet->fd;
  packet->fd = -1;
  switch (packet->type) {
  case FRONT_STREAM:
    if (packet->length != 24 || fd < 0) break;
    sandbox->give_up_ns = 0;
    return streams_segment(sandbox->connection, read_u32(packet->body), sandbox->ordinal, read_u32(packet->body + 4),
                           read_u32(packet->body + 8), read_u64(packet->body + 16), fd);
  case FRONT_GREW:
    if (packet->length % 16 != 0 || fd >= 0) break;
    sandbox->give_up_ns = 0;
    for (size_t at = 0; at < packet->length; at += 16) {
      const uint8_t *record = packet->body + at;
      int result = streams_grew(sandbox->connection, read_u32(record), (read_u32(record + 4) & 1) != 0, read_u64(record + 8));
      if (result < 0) return result;
    }
    return 0;
  case FRONT_INPUT_FD:
    if (packet->length != 16 || fd < 0) break;
    sandbox->give_up_ns = 0;
    /* Every agent offers a spool, also where rank 0 is not. */
    if (sandbox->takes_input) input_spool(sandbox->ordinal, fd, read_u64(packet->body), read_u64(packet->body + 8));
    else close(fd);
    return 0;
  case FRONT_INPUT_WINDOW:
    if (packet->length != 8 || fd >= 0) break;
    input_spool_window(sandbox->ordinal, read_u64(packet->body));
    return 0;
  case FRONT_ENDED:
    if (fd >= 0) break;
    if (!sandbox->ended) sandboxes.ended++;
    sandbox->ended = true;
    streams_end(sandbox->ordinal);
    return 0;
  case FRONT_REFUSED:
    if (fd >= 0) break;
    free(sandbox->refusal);
    sandbox->refusal = strndup((const char *)packet->body, packet->length < LONGEST_REFUSAL ? packet->length : LONGEST_REFUSAL);
    return -ECONNREFUSED;
  default: /* of a later version */
    if (fd >= 0) close(fd);
    return 0;
  }
  if (fd >= 0) close(fd);
  return -EPROTO;
}

const char *sandboxes_receive(struct sandbox *sandbox) {
  for (int i = 0; i < PACKETS_A_TURN; i++) {
    struct packet packet;
    int result = packet_receive(sandbox->fd, &packet);
    if (result == 0) return NULL;
    if (result > 0) result = take(sandbox, &packet);
    if (result == -EMFILE) return "too many open files: raise the hard limit (ulimit -Hn) to at least two for each rank";
    if (result == -E2BIG || result == -ENOMEM) return "the job has more streams of output than can be shown";
    if (result >= 0) continue;
    disconnect(sandbox, clock_ns());
    return NULL;
  }
  return NULL;
}

int sandboxes_fd(uint32_t ordinal) {
  for (size_t i = 0; i < sandboxes.count; i++)
    if (sandboxes.all[i].ordinal == ordinal) return sandboxes.all[i].fd;
  return -1;
}

bool sandboxes_tell(const struct stream *stream) {
  for (size_t i = 0; i < sandboxes.count; i++) {
    struct sandbox *sandbox = &sandboxes.all[i];
    if (sandbox->ordinal != stream->ordinal) continue;
    if (sandbox->fd < 0 || sandbox->connection != stream->connection) return false;
    uint8_t record[16] = {0};
    memcpy(record, &stream->id, sizeof stream->id);
    memcpy(record + 8, &stream->shown, sizeof stream->shown);
    int result = packet_send(sandbox->fd, FRONT_SHOWN_HERE, record, sizeof record, -1);
    if (result == -EAGAIN) sandbox->untold = true;
    return result == 0;
  }
  return false;
}

const struct sandbox *sandboxes_lost(uint64_t now) {
  for (size_t i = 0; i < sandboxes.count; i++) {
    const struct sandbox *sandbox = &sandboxes.all[i];
    if (sandbox->fd < 0 && !sandbox->ended && !sandbox->given_up && sandbox->give_up_ns != 0 && sandbox->give_up_ns <= now)
      return sandbox;
  }
  return NULL;
}
