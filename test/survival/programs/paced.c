/* Writes a stream that can be checked byte by byte, in writes of random size, spread over a given time, so that somebody
 * who kills daemons meanwhile finds it under way. Without MPI.
 *
 * usage: paced BYTES SECONDS [EXIT_CODE [FAILING_RANK]]
 *
 * stdout is BYTES of records of 256 bytes: rank, stream, number, filler that depends on both, newline; stderr is a
 * sixteenth of that. test/survival/record-stream.ts makes the same. With FAILING_RANK only that rank ends with EXIT_CODE.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { record_bytes = 256, write_most = 32768 };

static unsigned rank;

static void fill(char *to, unsigned stream, uint64_t number) {
  char head[32];
  int length = snprintf(head, sizeof head, "%04u %u %010llu ", rank, stream, (unsigned long long)number);
  memset(to, 'a' + (int)((number * 7 + rank) % 26), record_bytes);
  memcpy(to, head, (size_t)length);
  to[record_bytes - 1] = '\n';
}

/* The bytes from `offset` on. */
static void make(char *to, unsigned stream, uint64_t offset, size_t length) {
  char record[record_bytes];
  for (size_t done = 0; done < length;) {
    uint64_t at = offset + done;
    size_t skip = (size_t)(at % record_bytes), part = record_bytes - skip;
    if (part > length - done) part = length - done;
    fill(record, stream, at / record_bytes);
    memcpy(to + done, record + skip, part);
    done += part;
  }
}

static void put(int fd, uint64_t offset, size_t length) {
  static char bytes[write_most];
  make(bytes, (unsigned)fd, offset, length);
  for (size_t done = 0; done < length;) {
    ssize_t n = write(fd, bytes + done, length - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) _exit(9);
    done += (size_t)n;
  }
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  uint64_t total = strtoull(argv[1], NULL, 10), other = total / 16 / record_bytes * record_bytes;
  double seconds = atof(argv[2]), from = now();
  const char *rank_text = getenv("PMI_RANK");
  rank = rank_text ? (unsigned)atoi(rank_text) : 0;
  srand(rank + 1);
  uint64_t done = 0, other_done = 0;
  while (done < total || other_done < other) {
    size_t length = 1 + (size_t)rand() % (rand() % 4 ? 4096 : write_most);
    if (length > total - done) length = (size_t)(total - done);
    if (length > 0) put(1, done, length);
    done += length;
    /* stderr keeps pace, in pieces that seldom end with a record. */
    uint64_t due = done >= total || done / 16 > other ? other : done / 16;
    while (other_done < due) {
      size_t piece = due - other_done < write_most ? (size_t)(due - other_done) : write_most;
      put(2, other_done, piece);
      other_done += piece;
    }
    double late = from + seconds * (double)done / (double)total - now();
    if (late > 0.001) nanosleep(&(struct timespec){(time_t)late, (long)((late - (double)(time_t)late) * 1e9)}, NULL);
  }
  if (argc > 4 && rank != (unsigned)atoi(argv[4])) return 0;
  return argc > 3 ? atoi(argv[3]) : 0;
}
