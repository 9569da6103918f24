/* Times the PMI-1 server of whoever started it, as a client without an MPI library: barriers, puts and gets, and the
 * exchange that MPI_Init makes (put one, barrier, get all). Answers are checked: a wrong value ends the run.
 *
 * usage: pmibench [BARRIERS [PAIRS]]      default 1000 1000
 *
 * Speaks on PMI_FD (PMI_RANK, PMI_SIZE), else dials PMI_PORT and names itself by PMI_ID. Rank 0 prints one JSON line.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { line_limit = 1024, value_bytes = 256 };

static int wire, rank, size;
static char space[256];

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "pmibench: rank %d: %s: %s\n", rank, what, detail);
  exit(3);
}

static void send_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void send_line(const char *format, ...) {
  char line[line_limit];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(line, sizeof line - 1, format, list);
  va_end(list);
  if (length < 0 || length >= (int)sizeof line - 1) fail("request too long", format);
  line[length++] = '\n';
  if (write(wire, line, (size_t)length) != length) fail("cannot send", line);
}

/* The protocol strictly alternates, so one answer never follows another in a buffer, but it may come in pieces;
 * only the greeting of port mode holds several lines, and they are kept for the next call. */
static const char *receive_line(void) {
  static char buffer[16 * line_limit], line[line_limit];
  static size_t held;
  for (;;) {
    char *end = memchr(buffer, '\n', held);
    if (end) {
      size_t length = (size_t)(end - buffer);
      if (length >= sizeof line) fail("answer too long", "over 1023 bytes");
      memcpy(line, buffer, length);
      line[length] = 0;
      held -= length + 1;
      memmove(buffer, end + 1, held);
      return line;
    }
    if (held == sizeof buffer) fail("answer too long", "no newline");
    ssize_t n = read(wire, buffer + held, sizeof buffer - held);
    if (n <= 0) fail("the server closed the connection", "no answer");
    held += (size_t)n;
  }
}

static const char *expect(const char *command) {
  const char *line = receive_line();
  size_t length = strlen(command);
  if (strncmp(line, "cmd=", 4) != 0 || strncmp(line + 4, command, length) != 0 ||
      (line[4 + length] != ' ' && line[4 + length] != 0))
    fail(command, line);
  const char *rc = strstr(line, " rc=");
  if (rc && atoi(rc + 4) != 0) fail(command, line);
  return line;
}

/* Copies the value of ` key=` in an answer, up to the next space. */
static void field(const char *line, const char *key, char *into, size_t room) {
  char wanted[64];
  snprintf(wanted, sizeof wanted, " %s=", key);
  const char *at = strstr(line, wanted);
  if (!at) fail(key, line);
  at += strlen(wanted);
  size_t length = strcspn(at, " ");
  if (length >= room) fail(key, "value too long");
  memcpy(into, at, length);
  into[length] = 0;
}

static void barrier(void) {
  send_line("cmd=barrier_in");
  expect("barrier_out");
}

static void value_of(char *value, int owner, long pair) {
  memset(value, 'v', value_bytes);
  value[value_bytes] = 0;
  char mark[64];
  int length = snprintf(mark, sizeof mark, "%d-%ld-", owner, pair);
  memcpy(value, mark, (size_t)length);
}

static void put(const char *kind, long pair) {
  char value[value_bytes + 1];
  value_of(value, rank, pair);
  send_line("cmd=put kvsname=%s key=%s-%d-%ld value=%s", space, kind, rank, pair, value);
  expect("put_result");
}

static void get(const char *kind, int owner, long pair) {
  char value[value_bytes + 1], answer[line_limit];
  value_of(value, owner, pair);
  send_line("cmd=get kvsname=%s key=%s-%d-%ld", space, kind, owner, pair);
  field(expect("get_result"), "value", answer, sizeof answer);
  if (strcmp(answer, value) != 0) fail("a get answered another value", answer);
}

static void dial(const char *port) {
  char host[256];
  const char *colon = strrchr(port, ':'), *id = getenv("PMI_ID");
  if (!colon || colon == port || colon - port >= (long)sizeof host || !id) fail("PMI_PORT or PMI_ID is wrong", port);
  memcpy(host, port, (size_t)(colon - port));
  host[colon - port] = 0;
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
  if (getaddrinfo(host, colon + 1, &hints, &found) != 0) fail("unknown host in PMI_PORT", port);
  wire = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (wire < 0 || connect(wire, found->ai_addr, found->ai_addrlen) != 0) fail("cannot connect", port);
  freeaddrinfo(found);
  setsockopt(wire, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));

  char number[32];
  send_line("cmd=initack pmiid=%s", id);
  expect("initack");
  field(expect("set"), "size", number, sizeof number);
  size = atoi(number);
  field(expect("set"), "rank", number, sizeof number);
  rank = atoi(number);
  expect("set"); /* debug=N */
}

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  long barriers = argc > 1 ? atol(argv[1]) : 1000, pairs = argc > 2 ? atol(argv[2]) : 1000;
  if (barriers < 1 || pairs < 1) {
    fprintf(stderr, "usage: pmibench [BARRIERS [PAIRS]], each at least 1\n");
    return 2;
  }
  const char *fd = getenv("PMI_FD"), *port = getenv("PMI_PORT");
  if (fd && getenv("PMI_RANK") && getenv("PMI_SIZE")) {
    wire = atoi(fd);
    rank = atoi(getenv("PMI_RANK"));
    size = atoi(getenv("PMI_SIZE"));
  } else if (port) {
    dial(port);
  } else {
    fail("no PMI server", "neither PMI_FD, PMI_RANK and PMI_SIZE nor PMI_PORT are set");
  }

  send_line("cmd=init pmi_version=1 pmi_subversion=1");
  expect("response_to_init");
  send_line("cmd=get_maxes");
  expect("maxes");
  send_line("cmd=get_my_kvsname");
  field(expect("my_kvsname"), "kvsname", space, sizeof space);
  barrier();

  double *times = malloc(sizeof *times * (size_t)barriers);
  if (!times) fail("no memory", "for the barrier times");
  for (long i = 0; i < barriers; i++) {
    double from = now_us();
    barrier();
    times[i] = now_us() - from;
  }
  double barrier_mean = 0;
  for (long i = 0; i < barriers; i++) barrier_mean += times[i] / (double)barriers;
  qsort(times, (size_t)barriers, sizeof *times, by_size);

  double from = now_us();
  for (long i = 0; i < pairs; i++) put("pair", i);
  double put_mean = (now_us() - from) / (double)pairs;
  from = now_us();
  barrier();
  double fence = now_us() - from;
  from = now_us();
  for (long i = 0; i < pairs; i++) get("pair", (rank + 1) % size, i);
  double get_mean = (now_us() - from) / (double)pairs;
  barrier();

  from = now_us();
  put("card", 0);
  barrier();
  for (int owner = 0; owner < size; owner++) get("card", owner, 0);
  barrier();
  double exchange = now_us() - from;

  if (rank == 0) {
    printf("{\"ranks\":%d,\"barriers\":%ld,\"pairs\":%ld,\"barrierMeanUs\":%.1f,\"barrierP50Us\":%.1f,"
           "\"barrierP99Us\":%.1f,\"putUs\":%.2f,\"fenceUs\":%.1f,\"getUs\":%.2f,\"exchangeUs\":%.1f}\n",
           size, barriers, pairs, barrier_mean, times[barriers / 2], times[barriers * 99 / 100], put_mean, fence, get_mean,
           exchange);
    fflush(stdout);
  }
  send_line("cmd=finalize");
  expect("finalize_ack");
  return 0;
}
