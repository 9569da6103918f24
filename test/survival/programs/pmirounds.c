/* A PMI-1 client that would notice a lost, doubled or wrong answer: rounds of put, barrier and get, in which every key and
 * every value holds rank and round, and each answer has to be the one to the request before it. Without an MPI library.
 *
 * usage: pmirounds ROUNDS PAUSE_MICROSECONDS
 *
 * Speaks on PMI_FD. Each rank prints `rank R of N: K rounds`; a wrong answer is told on stderr, exit code 3.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { line_limit = 1024 };

static int wire, rank, size;
static char space[256];

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "pmirounds: rank %d: %s: %s\n", rank, what, detail);
  exit(3);
}

/* Sends a request and gives the answer; there has to be exactly one line. */
static const char *ask(const char *expected, const char *format, ...) __attribute__((format(printf, 2, 3)));
static const char *ask(const char *expected, const char *format, ...) {
  static char line[line_limit], answer[2 * line_limit];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(line, sizeof line - 1, format, list);
  va_end(list);
  line[length++] = '\n';
  /* In two pieces, so that whoever reads meanwhile may see half a line. */
  int half = rand() % length;
  if (write(wire, line, (size_t)half) != half || write(wire, line + half, (size_t)(length - half)) != length - half)
    fail("cannot send", format);
  size_t held = 0;
  while (held == 0 || answer[held - 1] != '\n') {
    ssize_t n = read(wire, answer + held, sizeof answer - 1 - held);
    if (n <= 0) fail("the server closed the connection after", format);
    held += (size_t)n;
  }
  answer[held - 1] = 0;
  if (strchr(answer, '\n')) fail("more than one answer", answer);
  size_t word = strlen(expected);
  if (strncmp(answer, "cmd=", 4) || strncmp(answer + 4, expected, word) || (answer[4 + word] && answer[4 + word] != ' '))
    fail(expected, answer);
  const char *rc = strstr(answer, " rc=");
  if (rc && atoi(rc + 4) != 0) fail(expected, answer);
  return answer;
}

static void value_of(char *value, size_t room, int owner, long round) {
  int length = snprintf(value, room, "v-%d-%ld-", owner, round);
  for (long i = 0; i < (owner + round) % 200; i++) value[length++] = (char)('a' + (owner + round + i) % 26);
  value[length] = 0;
}

static void get(int owner, long round) {
  char wanted[512];
  value_of(wanted, sizeof wanted, owner, round);
  const char *answer = ask("get_result", "cmd=get kvsname=%s key=k-%d-%ld", space, owner, round);
  const char *value = strstr(answer, " value=");
  if (!value || strncmp(value + 7, wanted, strlen(wanted)) || (value[7 + strlen(wanted)] && value[7 + strlen(wanted)] != ' ')) {
    fprintf(stderr, "pmirounds: rank %d: key k-%d-%ld: expected %s\n", rank, owner, round, wanted);
    fail("another value", answer);
  }
}

int main(int argc, char **argv) {
  if (argc < 3 || !getenv("PMI_FD")) return 2;
  long rounds = atol(argv[1]), pause_us = atol(argv[2]);
  wire = atoi(getenv("PMI_FD"));
  rank = atoi(getenv("PMI_RANK"));
  size = atoi(getenv("PMI_SIZE"));
  srand((unsigned)rank + 1);
  ask("response_to_init", "cmd=init pmi_version=1 pmi_subversion=1");
  ask("maxes", "cmd=get_maxes");
  const char *name = strstr(ask("my_kvsname", "cmd=get_my_kvsname"), " kvsname=");
  if (!name || sscanf(name, " kvsname=%255s", space) != 1) fail("no kvsname", "");
  for (long round = 0; round < rounds; round++) {
    char value[512];
    value_of(value, sizeof value, rank, round);
    ask("put_result", "cmd=put kvsname=%s key=k-%d-%ld value=%s", space, rank, round, value);
    ask("barrier_out", "cmd=barrier_in");
    get((rank + 1) % size, round);
    get((rank + size / 2) % size, round);
    get(rand() % size, rand() % (round + 1));
    if (pause_us) nanosleep(&(struct timespec){pause_us / 1000000, pause_us % 1000000 * 1000}, NULL);
  }
  ask("barrier_out", "cmd=barrier_in");
  ask("finalize_ack", "cmd=finalize");
  printf("rank %d of %d: %ld rounds\n", rank, size, rounds);
  return 0;
}
