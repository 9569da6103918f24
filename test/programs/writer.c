/* Writes memory at a pace, and checks what it wrote before: a job of known size that makes so much of it new a second while it works.
 *
 * usage: writer MIB MIB-A-SECOND
 *
 * Its work goes in units, of about a millisecond when nothing disturbs it. Every hundred of them it prints `T N`: the time since the epoch
 * in milliseconds, and how many units it has done. What it finds damaged ends it with `BAD ...`, exit 1.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PAGE = 4096, REPORT_EVERY = 100 };

static double now_ms(clockid_t clock) {
  struct timespec at;
  clock_gettime(clock, &at);
  return (double)at.tv_sec * 1e3 + (double)at.tv_nsec / 1e6;
}

static uint64_t work(uint64_t steps) {
  volatile uint64_t sum = 0;
  for (uint64_t i = 0; i < steps; i++) sum = sum * 31 + i;
  return sum;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  size_t pages = (size_t)atol(argv[1]) << 8;
  double pages_a_unit = atof(argv[2]) * 256 / 1000, due = 0;
  uint64_t *memory = malloc(pages * PAGE);
  if (!memory || pages == 0) return 2;
  for (size_t page = 0; page < pages; page++) memory[page * PAGE / 8] = page + 1;
  uint64_t steps = 100000;
  double began = now_ms(CLOCK_THREAD_CPUTIME_ID);
  for (int i = 0; i < 20; i++) work(steps);
  steps = (uint64_t)((double)steps * 20 / (now_ms(CLOCK_THREAD_CPUTIME_ID) - began));
  uint64_t round = 0;
  size_t at = 0;
  for (long unit = 0;; unit++) {
    if (unit % REPORT_EVERY == 0) {
      printf("%.3f %ld\n", now_ms(CLOCK_REALTIME), unit);
      fflush(stdout);
    }
    for (due += pages_a_unit; due >= 1; due--) {
      uint64_t *page = &memory[at * PAGE / 8];
      if (*page != round * pages + at + 1) {
        printf("BAD page %zu of round %lu\n", at, round);
        return 1;
      }
      *page = (round + 1) * pages + at + 1;
      if (++at == pages) at = 0, round++;
    }
    work(steps);
  }
}
