/* Writes a known amount of output in writes of a known size, without MPI: what a reader got can be checked for lost,
 * doubled, torn and reordered bytes, and its rate can be measured.
 *
 * usage: outgen MEBIBYTES [WRITE_BYTES] [stdout|stderr]      default 64 KiB, stdout
 *
 * Every write is one line of exactly WRITE_BYTES: rank, sequence number, filler, newline. The total is MEBIBYTES
 * rounded down to whole lines. MEBIBYTES may be a fraction. The rank is taken from PMI_RANK, else 0.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { header_bytes = 20 };

int main(int argc, char **argv) {
  double mebibytes = argc > 1 ? atof(argv[1]) : 0;
  long line_bytes = argc > 2 ? atol(argv[2]) : 65536;
  int fd = argc > 3 && !strcmp(argv[3], "stderr") ? STDERR_FILENO : STDOUT_FILENO;
  if (mebibytes <= 0 || line_bytes <= header_bytes || line_bytes > 1 << 26) {
    fprintf(stderr, "usage: outgen MEBIBYTES [WRITE_BYTES of more than %d] [stdout|stderr]\n", header_bytes);
    return 2;
  }
  const char *rank_text = getenv("PMI_RANK");
  int rank = rank_text ? atoi(rank_text) : 0;
  size_t size = (size_t)line_bytes;
  char *line = malloc(size);
  if (!line) return 3;
  memset(line, 'o', size);
  line[size - 1] = '\n';
  long lines = (long)(mebibytes * 1048576 / (double)line_bytes);
  for (long i = 0; i < lines; i++) {
    char header[64];
    snprintf(header, sizeof header, "%07d %011ld ", rank, i);
    memcpy(line, header, header_bytes);
    for (size_t done = 0; done < size;) {
      ssize_t n = write(fd, line + done, size - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        fprintf(stderr, "outgen: rank %d, line %ld: %s\n", rank, i, strerror(errno));
        return 1;
      }
      done += (size_t)n;
    }
  }
  return 0;
}
