/* One half of a coupled pair of programs (MPMD): built twice, as coupler-a and coupler-b, started as one group. Each
 * half splits off its own communicator, the halves meet through an intercommunicator and exchange a value a step.
 * The exact result is known to both, so a wrong launch (ranks, application numbers, who is who) cannot pass.
 *
 * usage: coupler-a [STEPS]   and   coupler-b [STEPS]   (default 100)
 *
 * Every half's first rank prints `coupler-X DONE ranks=N of=N appnum=N steps=N value=N`; damage prints BAD, exit 1.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef SIDE
#error "build with -DSIDE=0 (coupler-a) or -DSIDE=1 (coupler-b)"
#endif

static const char name = SIDE ? 'b' : 'a';

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  long steps = argc > 1 ? atol(argv[1]) : 100;
  int rank, size, half_rank, half_size, *appnum = NULL, has_appnum = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_APPNUM, (void *)&appnum, &has_appnum);

  MPI_Comm half, both;
  MPI_Comm_split(MPI_COMM_WORLD, SIDE, rank, &half);
  MPI_Comm_rank(half, &half_rank);
  MPI_Comm_size(half, &half_size);
  if (half_size == size) {
    fprintf(stderr, "coupler-%c: the other half is missing: start coupler-a and coupler-b in one group\n", name);
    MPI_Abort(MPI_COMM_WORLD, 2);
  }

  /* Leaders: the lowest world rank of either half. */
  int lowest[2] = {size, size}, leaders[2];
  lowest[SIDE] = rank;
  MPI_Allreduce(lowest, leaders, 2, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, leaders[!SIDE], 7, &both);

  /* a holds x, b holds y; every step x' = 3x + y and y' = x + 2y (mod 1000003), each from the other's last value. */
  long value = SIDE ? 2 : 1, expected[2] = {1, 2};
  for (long step = 0; step < steps; step++) {
    long theirs = 0;
    if (half_rank == 0) MPI_Sendrecv(&value, 1, MPI_LONG, 0, 3, &theirs, 1, MPI_LONG, 0, 3, both, MPI_STATUS_IGNORE);
    MPI_Bcast(&theirs, 1, MPI_LONG, 0, half);
    value = SIDE ? (theirs + 2 * value) % 1000003 : (3 * value + theirs) % 1000003;
    long x = expected[0], y = expected[1];
    expected[0] = (3 * x + y) % 1000003;
    expected[1] = (x + 2 * y) % 1000003;
    if (value != expected[SIDE]) {
      printf("BAD coupler-%c rank=%d step=%ld value=%ld expected=%ld\n", name, rank, step, value, expected[SIDE]);
      fflush(stdout);
      MPI_Abort(MPI_COMM_WORLD, 1);
    }
  }
  if (half_rank == 0) {
    printf("coupler-%c DONE ranks=%d of=%d appnum=%d steps=%ld value=%ld\n", name, half_size, size, has_appnum ? *appnum : -1,
           steps, value);
    fflush(stdout);
  }
  MPI_Comm_free(&both);
  MPI_Comm_free(&half);
  MPI_Finalize();
  return 0;
}
