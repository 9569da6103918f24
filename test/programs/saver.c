/* An MPI program that can save itself, and can be saved: counts steps, mixes a sum over all ranks in, says each step and appends it to
 * a file of its own. Whatever is lost, doubled or taken back too little of shows in what it has said and written.
 *
 *   saver FILE CONTROL     each rank appends to FILE.RANK. It ends once the file CONTROL is gone; while that says "silent", rank 0
 *                          does not look whether a checkpoint is wanted, while it says "refuse", rank 0 cannot save itself
 */
#include <errno.h>
#include <inttypes.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "../../native/checkpoint/muster-checkpoint.h"

struct state {
  long step;
  uint64_t sum;
};

static FILE *open_state(const char *directory, int rank, const char *mode) {
  char path[512];
  snprintf(path, sizeof path, "%s/ranks/state.%d", directory, rank);
  return fopen(path, mode);
}

static int save(const struct state *state, int rank) {
  char path[512];
  const char *directory = getenv("MUSTER_CHECKPOINT_DIR");
  snprintf(path, sizeof path, "%s/ranks", directory);
  if (mkdir(path, 0700) < 0 && errno != EEXIST) return errno;
  FILE *file = open_state(directory, rank, "w");
  if (!file) return errno;
  size_t written = fwrite(state, sizeof *state, 1, file);
  return fclose(file) == 0 && written == 1 ? 0 : EIO;
}

/* The word that the test has written; null: the file is gone. */
static const char *word_in(const char *path) {
  static char text[16];
  FILE *file = fopen(path, "r");
  if (!file) return NULL;
  size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = '\0';
  return text;
}

int main(int argc, char **argv) {
  int rank;
  char path[512];
  struct state state = {0, 1};
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (argc != 3) MPI_Abort(MPI_COMM_WORLD, 2);
  const char *from = getenv("MUSTER_RESTART_DIR");
  if (from) {
    FILE *file = open_state(from, rank, "r");
    if (!file || fread(&state, sizeof state, 1, file) != 1) MPI_Abort(MPI_COMM_WORLD, 3);
    fclose(file);
    fprintf(stderr, "rank %d goes on from step %ld\n", rank, state.step);
  }
  snprintf(path, sizeof path, "%s.%d", argv[1], rank);
  FILE *file = fopen(path, "a");
  if (!file) MPI_Abort(MPI_COMM_WORLD, 4);
  const struct timespec pause = {.tv_nsec = 10000000};
  for (;; state.step++) {
    /* Only once all see that it is wanted: their nodes are told one after the other. */
    const char *word = word_in(argv[2]);
    int mine[2] = {word != NULL, 0}, all[2];
    if (word && !(rank == 0 && strcmp(word, "silent") == 0)) mine[1] = muster_checkpoint_wanted();
    MPI_Allreduce(mine, all, 2, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (!all[0]) break;
    if (all[1]) muster_checkpoint_done(rank == 0 && strcmp(word, "refuse") == 0 ? ENOSPC : save(&state, rank));
    uint64_t part = (state.sum ^ (uint64_t)rank) * 0x9e3779b97f4a7c15u, parts;
    MPI_Allreduce(&part, &parts, 1, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
    state.sum = state.sum * 31 + parts;
    printf("rank %d step %ld sum %016" PRIx64 "\n", rank, state.step, state.sum);
    fprintf(file, "%ld\n", state.step);
    if (fflush(file) != 0 || fflush(stdout) != 0) MPI_Abort(MPI_COMM_WORLD, 5);
    nanosleep(&pause, NULL);
  }
  fclose(file);
  MPI_Finalize();
  return 0;
}
