/* Reads standard input to its end and prints how much came and its CRC-32 (the one of zlib), without MPI:
 * `bytes=N crc32=HEX reads=N`. A pause between reads makes a slow reader.
 *
 * usage: incount [READ_BYTES [PAUSE_MICROSECONDS]]      default 65536, no pause
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint32_t table[256];

static void make_table(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
}

int main(int argc, char **argv) {
  long chunk = argc > 1 ? atol(argv[1]) : 65536, pause_us = argc > 2 ? atol(argv[2]) : 0;
  if (chunk < 1 || pause_us < 0) {
    fprintf(stderr, "usage: incount [READ_BYTES [PAUSE_MICROSECONDS]]\n");
    return 2;
  }
  unsigned char *buffer = malloc((size_t)chunk);
  if (!buffer) return 3;
  make_table();
  uint32_t crc = 0xffffffffu;
  unsigned long long bytes = 0, reads = 0;
  for (;;) {
    ssize_t n = read(STDIN_FILENO, buffer, (size_t)chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      fprintf(stderr, "incount: after %llu bytes: %s\n", bytes, strerror(errno));
      return 1;
    }
    if (n == 0) break;
    for (ssize_t i = 0; i < n; i++) crc = table[(crc ^ buffer[i]) & 255] ^ (crc >> 8);
    bytes += (unsigned long long)n;
    reads++;
    if (pause_us) nanosleep(&(struct timespec){pause_us / 1000000, pause_us % 1000000 * 1000}, NULL);
  }
  printf("bytes=%llu crc32=%08x reads=%llu\n", bytes, crc ^ 0xffffffffu, reads);
  return 0;
}
