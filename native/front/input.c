/* See input.h. */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "packet.h"
#include "protocol.h"

enum { SPOOL_BYTES = 1 << 16, RELAY_BYTES = 1 << 18, PACKET_BYTES = 1 << 15 };
static const uint64_t RETRY_NS = 100000000;

struct input input = {.spool = -1};

static char held[SPOOL_BYTES]; /* read, not yet in the spool */
static size_t held_length;
static char ring[RELAY_BYTES]; /* the last bytes of relayed input, at offset modulo size */
static uint64_t sent;          /* relayed bytes sent on this connection */
static int past = -1;          /* a spool that the ranks have left; nothing is read from stdin as long as it is needed */
static uint64_t past_at;       /* bytes before this went along, or are in the spool of now */
static bool offered;           /* the agent that is connected has given the spool */
static bool placed = true;     /* it is known where relayed input is to go on */

/* `input.spool` is that of ranks that are elsewhere now, where there are `length` bytes of it. */
static void leave_spool(uint64_t length) {
  if (past >= 0) close(input.spool); /* the one before has all that is missing */
  else past = input.spool;
  input.spool = -1;
  past_at = length;
}

static void forget_past(void) {
  if (past >= 0) close(past);
  past = -1;
}

static bool is_other_file(int one, int two) {
  struct stat a, b;
  return fstat(one, &a) != 0 || fstat(two, &b) != 0 || a.st_dev != b.st_dev || a.st_ino != b.st_ino;
}

void input_spool(uint32_t ordinal, int fd, uint64_t length, uint64_t window) {
  if (input.road == INPUT_RELAY || (input.road == INPUT_SPOOL && input.ordinal != ordinal)) {
    close(fd);
    return;
  }
  if (input.spool >= 0 && is_other_file(input.spool, fd) && length < input.length) leave_spool(length);
  else if (input.spool >= 0) close(input.spool);
  /* Only this process appends: its own count is the truth once it has one. */
  if (input.road == INPUT_NONE) input.length = length;
  input.road = INPUT_SPOOL;
  input.ordinal = ordinal;
  input.spool = fd;
  offered = true;
  input_spool_window(ordinal, window);
  input_again();
}

static void move_window(uint64_t window) {
  if (window > input.window) input.window = window;
  if (window < FRONT_NOBODY_READS || input.ended) return;
  /* Who writes hears of it, as he would from a program that has closed its standard input. */
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null >= 0) dup2(null, STDIN_FILENO);
  if (null > STDIN_FILENO) close(null);
  held_length = 0;
  input.ended = true;
}

void input_connected(uint32_t ordinal) {
  if (input.road == INPUT_SPOOL && input.ordinal == ordinal) offered = false;
}

void input_gone(uint32_t ordinal) {
  if (input.road != INPUT_SPOOL || input.ordinal != ordinal) return;
  if (input.spool >= 0) leave_spool(0);
  input.road = INPUT_RELAY;
  input.window = input.safe = 0;
  placed = false;
  input_again();
}

/* All that was handed over is where it is to be: what was read since goes the usual way. */
static void relay_held(void) {
  forget_past();
  for (size_t i = 0; i < held_length; i++) ring[(input.length + i) % RELAY_BYTES] = held[i];
  input.length += held_length;
  held_length = 0;
  input.retry_ns = 0;
}

void input_window(uint64_t window, uint64_t safe) {
  if (input.road == INPUT_SPOOL) input_gone(input.ordinal); /* told by a control plane that knows nothing of before */
  input.road = INPUT_RELAY;
  if (safe > input.safe) input.safe = safe;
  if (!placed) sent = input.safe;
  placed = true;
  if (past >= 0 && input.safe >= input.length) relay_held();
  move_window(window);
}

void input_spool_window(uint32_t ordinal, uint64_t window) {
  if (input.road == INPUT_SPOOL && input.ordinal == ordinal) move_window(window);
}

void input_again(void) {
  input.told = 0;
  input.end_told = false;
  sent = past >= 0 ? input.safe : input.length > RELAY_BYTES ? input.length - RELAY_BYTES : 0;
}

bool input_wanted(void) {
  if (input.ended || input.road == INPUT_NONE || past >= 0) return false;
  if (input.road == INPUT_SPOOL && (held_length > 0 || input.spool < 0 || input.length >= input.window)) return false;
  /* A relayed byte may be asked for again until the window has moved past it by the ring's size. */
  if (input.road == INPUT_RELAY && (input.length >= input.window || input.length - sent >= RELAY_BYTES)) return false;
  pid_t foreground = tcgetpgrp(STDIN_FILENO);
  return foreground < 0 || foreground == getpgrp();
}

static void spool_held(void) {
  size_t done = 0;
  while (done < held_length) {
    ssize_t count = pwrite(input.spool, held + done, held_length - done, (off_t)(input.length + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += (size_t)count;
  }
  held_length -= done;
  memmove(held, held + done, held_length);
  input.length += done;
  input.retry_ns = held_length > 0 ? clock_ns() + RETRY_NS : 0;
}

/* Into the spool of now what the ranks did not take along. */
static void spool_past(void) {
  while (past_at < input.length) {
    char bytes[SPOOL_BYTES];
    const size_t most = input.length - past_at < sizeof bytes ? (size_t)(input.length - past_at) : sizeof bytes;
    ssize_t count = pread(past, bytes, most, (off_t)past_at);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break; /* it cannot be had: there is nothing better to do than to go on */
    ssize_t put = pwrite(input.spool, bytes, (size_t)count, (off_t)past_at);
    if (put > 0) past_at += (uint64_t)put;
    if (put > 0 || errno == EINTR) continue;
    input.retry_ns = clock_ns() + RETRY_NS;
    return;
  }
  forget_past();
  input.retry_ns = held_length > 0 ? clock_ns() + RETRY_NS : 0;
}

static void end_on(ssize_t count) {
  if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) input.ended = true;
}

void input_read(void) {
  if (input.road == INPUT_SPOOL) {
    const size_t most = input.window - input.length < SPOOL_BYTES ? (size_t)(input.window - input.length) : SPOOL_BYTES;
    /* From a pipe without a copy; a spool opened for appending refuses it. */
    loff_t at = (loff_t)input.length;
    ssize_t count = splice(STDIN_FILENO, NULL, input.spool, &at, most, SPLICE_F_NONBLOCK);
    if (count >= 0) {
      input.length += (uint64_t)count;
      end_on(count);
      return;
    }
    if (errno == EAGAIN) return;
    count = read(STDIN_FILENO, held, most);
    end_on(count);
    if (count > 0) held_length = (size_t)count;
    spool_held();
    return;
  }
  uint64_t room = input.window - input.length;
  size_t at = (size_t)(input.length % RELAY_BYTES);
  size_t most = RELAY_BYTES - at;
  if (most > PACKET_BYTES) most = PACKET_BYTES;
  if (most > RELAY_BYTES - (input.length - sent)) most = (size_t)(RELAY_BYTES - (input.length - sent));
  if (most > room) most = (size_t)room;
  ssize_t count = read(STDIN_FILENO, ring + at, most);
  end_on(count);
  if (count > 0) input.length += (uint64_t)count;
}

static bool tell_spool(int agent) {
  if (past >= 0 && clock_ns() >= input.retry_ns) spool_past();
  if (past >= 0) return true;
  if (held_length > 0 && clock_ns() >= input.retry_ns) spool_held();
  bool end = input.ended && held_length == 0;
  if (agent < 0 || !offered || (input.told == input.length && (!end || input.end_told))) return true;
  uint8_t body[12];
  uint32_t flag = end;
  memcpy(body, &input.length, sizeof input.length);
  memcpy(body + 8, &flag, sizeof flag);
  if (packet_send(agent, FRONT_INPUT, body, sizeof body, -1) == -EAGAIN) return false;
  input.told = input.length;
  input.end_told = end;
  return true;
}

static bool tell_relay(int control) {
  if (control < 0 || !placed) return true;
  static uint8_t body[sizeof(uint64_t) + PACKET_BYTES];
  for (;;) {
    bool end = sent == input.length;
    if (past >= 0 && (end || sent >= input.window)) return true; /* the end is told once all before it is safe */
    if (end && (!input.ended || input.end_told)) return true;
    size_t at = (size_t)(sent % RELAY_BYTES);
    uint64_t count = input.length - sent;
    if (count > PACKET_BYTES) count = PACKET_BYTES;
    if (count > RELAY_BYTES - at) count = RELAY_BYTES - at;
    memcpy(body, &sent, sizeof sent);
    if (past < 0) memcpy(body + sizeof sent, ring + at, (size_t)count);
    else if (pread(past, body + sizeof sent, (size_t)count, (off_t)sent) != (ssize_t)count) return true;
    int result = packet_send(control, FRONT_STDIN, body, sizeof sent + (size_t)count, -1);
    if (result == -EAGAIN) return false;
    if (result < 0) return true; /* the end of the connection is seen elsewhere */
    sent += count;
    if (end) input.end_told = true;
  }
}

bool input_tell(int control, int agent) {
  return input.road == INPUT_SPOOL ? tell_spool(agent) : input.road == INPUT_RELAY ? tell_relay(control) : true;
}
