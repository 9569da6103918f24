/* A ring with checksums: every rank sends a block to its right neighbour and checks, byte by byte, the one from its
 * left; an all-reduce then compares sums over all ranks. Whatever loses, doubles or changes a message is seen.
 *
 * usage: ring [--seconds S | --iterations N] [--until FILE] [--bytes B] [--report-every N]
 *
 * It ends sooner, so that whoever waits for something needs to guess no seconds: when rank 0 gets SIGUSR1, or sees the file of --until.
 *
 * Rank 0 ends with `DONE iterations=N ranks=N checksum=HEX` and exit 0; who sees damage prints `BAD ...`, exit 1.
 */
#include <inttypes.h>
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t mix(uint64_t x) {
  x ^= x >> 31;
  x *= 0x7fb5d329728ea185u;
  x ^= x >> 27;
  x *= 0x81dadef4bc2dd44du;
  return x ^ (x >> 33);
}

/* The block that `rank` sends in `iteration`: known to both sides, so the receiver needs no trust in the sender. */
static void fill(uint64_t *block, size_t words, int rank, long iteration) {
  uint64_t seed = mix(((uint64_t)(unsigned)rank << 40) + (uint64_t)iteration + 1);
  for (size_t i = 0; i < words; i++) block[i] = mix(seed + i);
}

static uint64_t sum_of(const uint64_t *block, size_t words) {
  uint64_t sum = 0;
  for (size_t i = 0; i < words; i++) sum = sum * 31 + block[i];
  return sum;
}

static void bad(int rank, long iteration, const char *what) {
  printf("BAD rank=%d iteration=%ld: %s\n", rank, iteration, what);
  fflush(stdout);
  MPI_Abort(MPI_COMM_WORLD, 1);
}

static volatile sig_atomic_t is_told_to_end;

static void end(int number) {
  (void)number;
  is_told_to_end = 1;
}

int main(int argc, char **argv) {
  double seconds = 0;
  long iterations = 100, report_every = 0;
  const char *until = NULL;
  size_t bytes = 4096;
  struct sigaction ends = {.sa_handler = end, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &ends, NULL);
  MPI_Init(&argc, &argv);
  int rank, size;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  for (int i = 1; i < argc; i += 2) {
    const char *value = i + 1 < argc ? argv[i + 1] : "";
    if (!strcmp(argv[i], "--seconds")) seconds = atof(value);
    else if (!strcmp(argv[i], "--iterations")) iterations = atol(value);
    else if (!strcmp(argv[i], "--until")) until = value;
    else if (!strcmp(argv[i], "--bytes")) bytes = (size_t)atol(value);
    else if (!strcmp(argv[i], "--report-every")) report_every = atol(value);
    else {
      fprintf(stderr, "ring: unknown argument %s\n", argv[i]);
      MPI_Abort(MPI_COMM_WORLD, 2);
    }
  }
  size_t words = bytes < 8 ? 1 : bytes / 8;
  uint64_t *mine = malloc(words * 8), *theirs = malloc(words * 8), *expected = malloc(words * 8);
  if (!mine || !theirs || !expected) MPI_Abort(MPI_COMM_WORLD, 2);

  int right = (rank + 1) % size, left = (rank + size - 1) % size;
  double started = MPI_Wtime();
  uint64_t checksum = 0;
  long iteration = 0;
  for (;; iteration++) {
    int go_on = seconds > 0 ? MPI_Wtime() - started < seconds : iteration < iterations;
    if (is_told_to_end || (until && access(until, F_OK) == 0)) go_on = 0;
    MPI_Bcast(&go_on, 1, MPI_INT, 0, MPI_COMM_WORLD); /* rank 0 decides for all */
    if (!go_on) break;
    fill(mine, words, rank, iteration);
    memset(theirs, 0, words * 8);
    MPI_Sendrecv(mine, (int)words, MPI_UINT64_T, right, 1, theirs, (int)words, MPI_UINT64_T, left, 1, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
    fill(expected, words, left, iteration);
    if (memcmp(theirs, expected, words * 8) != 0) bad(rank, iteration, "the block from the left neighbour is damaged");
    uint64_t sent = sum_of(mine, words), received = sum_of(theirs, words), sums[2] = {sent, received}, totals[2];
    MPI_Allreduce(sums, totals, 2, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
    if (totals[0] != totals[1]) bad(rank, iteration, "what was sent differs from what was received");
    checksum = mix(checksum + totals[0]);
    if (report_every && iteration % report_every == 0) {
      printf("rank %d iteration %ld checksum %016" PRIx64 "\n", rank, iteration, checksum);
      fflush(stdout);
    }
  }
  uint64_t roots = checksum;
  MPI_Bcast(&roots, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
  if (roots != checksum) bad(rank, iteration, "this rank's checksum differs from rank 0's");
  if (rank == 0) {
    printf("DONE iterations=%ld ranks=%d checksum=%016" PRIx64 "\n", iteration, size, checksum);
    fflush(stdout);
  }
  MPI_Finalize();
  return 0;
}
