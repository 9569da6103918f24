/* What a message between two ranks takes: rank 0 and rank 1 send blocks to and fro.
 *
 * usage: pingpong [MILLISECONDS]
 *
 * Rank 0 prints {"latencyUs":N,"mbPerSecond":N}: half the time of 8 bytes there and back, and the rate of blocks of 1 MiB.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { most = 1 << 20 };
static char buffer[most];

/* Seconds a message one way. Rank 0 says when it has been long enough. */
static double measured(int rank, int bytes, double seconds) {
  int other = 1 - rank, goes_on = 1;
  long turns = 0;
  MPI_Barrier(MPI_COMM_WORLD);
  double begun = MPI_Wtime(), took = 0;
  while (goes_on) {
    for (int turn = 0; turn < 20; turn++) {
      if (rank == 0) MPI_Send(buffer, bytes, MPI_BYTE, other, 1, MPI_COMM_WORLD);
      MPI_Recv(buffer, bytes, MPI_BYTE, other, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      if (rank == 1) MPI_Send(buffer, bytes, MPI_BYTE, other, 1, MPI_COMM_WORLD);
    }
    turns += 20;
    took = MPI_Wtime() - begun;
    goes_on = took < seconds;
    MPI_Bcast(&goes_on, 1, MPI_INT, 0, MPI_COMM_WORLD);
  }
  return took / (double)turns / 2;
}

int main(int argc, char **argv) {
  int rank, size;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (size != 2) {
    fprintf(stderr, "pingpong: two ranks are needed, there are %d\n", size);
    MPI_Abort(MPI_COMM_WORLD, 2);
  }
  double seconds = (argc > 1 ? atof(argv[1]) : 500) / 1000;
  double small = measured(rank, 8, seconds), large = measured(rank, most, seconds);
  if (rank == 0) printf("{\"latencyUs\":%.3f,\"mbPerSecond\":%.1f}\n", small * 1e6, most / 1e6 / large);
  MPI_Finalize();
  return 0;
}
