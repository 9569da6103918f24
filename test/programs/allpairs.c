/* Traffic between every pair of ranks: in step S each rank sends a block to the rank S after it and checks, byte by byte, the one
 * from the rank S before it. Whatever loses, doubles or changes a message is seen.
 *
 * usage: allpairs [ROUNDS [BYTES]]
 *
 * Rank 0 ends with `DONE pairs=N rounds=N bytes=N` and exit 0; who sees damage prints `BAD ...`, exit 1.
 */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned char byte_of(int from, int to, long round, long at) {
  uint32_t x = (uint32_t)from * 2654435761u ^ (uint32_t)to * 40503u ^ (uint32_t)round * 97u ^ (uint32_t)at * 2246822519u;
  return (unsigned char)(x >> 24 ^ x >> 13);
}

int main(int argc, char **argv) {
  int rank, size;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  long rounds = argc > 1 ? atol(argv[1]) : 3, bytes = argc > 2 ? atol(argv[2]) : 100000;
  unsigned char *out = malloc((size_t)bytes), *in = malloc((size_t)bytes);
  for (long round = 0; round < rounds; round++) {
    for (int step = 1; step < size; step++) {
      int to = (rank + step) % size, from = (rank + size - step) % size;
      for (long at = 0; at < bytes; at++) out[at] = byte_of(rank, to, round, at);
      MPI_Sendrecv(out, (int)bytes, MPI_BYTE, to, 7, in, (int)bytes, MPI_BYTE, from, 7, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      for (long at = 0; at < bytes; at++) {
        if (in[at] == byte_of(from, rank, round, at)) continue;
        printf("BAD rank=%d from=%d round=%ld byte=%ld\n", rank, from, round, at);
        fflush(stdout);
        MPI_Abort(MPI_COMM_WORLD, 1);
      }
    }
  }
  MPI_Barrier(MPI_COMM_WORLD);
  if (rank == 0) printf("DONE pairs=%d rounds=%ld bytes=%ld\n", size * (size - 1), rounds, bytes);
  free(out);
  free(in);
  MPI_Finalize();
  return 0;
}
