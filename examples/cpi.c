/* Computes pi in parallel: every rank integrates 4/(1+x^2) over its own slice of [0,1], and rank 0 prints the sum.
 *
 * usage: cpi [INTERVALS]     how finely this rank cuts its slice (default 1000000); ranks may differ
 * environment: CPI_RULE      midpoint (default) or simpson; ranks may differ
 *              CPI_LABEL     a word printed with this rank's line
 *
 * Exits 0 when the result is right to eight digits, 1 when it is not, 2 when it was called wrongly.
 */
#include <errno.h>
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double height(double x) { return 4.0 / (1.0 + x * x); }

static double midpoint(double from, double to, long intervals) {
  double width = (to - from) / (double)intervals, sum = 0;
  for (long i = 0; i < intervals; i++) sum += height(from + width * ((double)i + 0.5));
  return sum * width;
}

static double simpson(double from, double to, long intervals) {
  double width = (to - from) / (double)intervals, sum = 0;
  for (long i = 0; i < intervals; i++) {
    double left = from + width * (double)i;
    sum += height(left) + 4 * height(left + width / 2) + height(left + width);
  }
  return sum * width / 6;
}

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  int rank, size, length;
  char host[MPI_MAX_PROCESSOR_NAME];
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Get_processor_name(host, &length);

  char *end = NULL;
  errno = 0;
  long intervals = argc > 1 ? strtol(argv[1], &end, 10) : 1000000;
  const char *rule = getenv("CPI_RULE"), *label = getenv("CPI_LABEL");
  if (!rule) rule = "midpoint";
  int is_simpson = strcmp(rule, "simpson") == 0;
  const char *complaint = NULL;
  if (argc > 2 || (end && *end) || errno || intervals < 1) complaint = "usage: cpi [INTERVALS], a number of at least 1";
  if (!is_simpson && strcmp(rule, "midpoint") != 0) complaint = "CPI_RULE must be midpoint or simpson";
  if (complaint) {
    fprintf(stderr, "cpi: rank %d: %s\n", rank, complaint);
    MPI_Abort(MPI_COMM_WORLD, 2);
  }

  double started = MPI_Wtime();
  double from = (double)rank / size, to = (double)(rank + 1) / size;
  double part = is_simpson ? simpson(from, to, intervals) : midpoint(from, to, intervals);
  printf("rank %d of %d on %s%s%s: %ld intervals, %s rule, part %.12f\n", rank, size, host, label ? ", " : "", label ? label : "",
         intervals, rule, part);
  fflush(stdout);

  double pi = 0;
  MPI_Reduce(&part, &pi, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
  int wrong = rank == 0 && fabs(pi - 3.14159265358979323846) > 1e-8;
  if (rank == 0) {
    printf("pi is approximately %.12f, error %.1e, %.3f s\n", pi, fabs(pi - 3.14159265358979323846), MPI_Wtime() - started);
    fflush(stdout);
  }
  MPI_Finalize();
  return wrong;
}
