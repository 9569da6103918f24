/* tracker: copies the memory of processes that run into a file, and then only what they have written since.
 *
 *   tracker DIRECTORY        by orders on standard input, one a line, each answered by a line on standard output:
 *     round PID...           copies what these have written since the last round, at first all that they have: `copied BYTES`
 *     last PID...            they stand still: copies what they have written since, and watches them no more: `copied BYTES`
 *     rest                   copies what the file `pages.table` names and the others lack, and writes where all of it is: `copied BYTES`
 *   tracker --rate MS PID... how much they write, of a sample of their memory: `BYTES of private memory, BYTES of it written in MS`
 *   tracker --probe          exit status 0 when the kernel can do it; otherwise it says why not
 *
 * Pages go to `copied.pages` in DIRECTORY, one after another, and to `copied.index` where the last copy of each is. Whoever is watched is let go
 * when this ends, for whatever reason: the kernel sees to that. Of a process that cannot be watched all is copied in the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "copies.h"
#include "track.h"

enum { BLOCK = 1 << 20, SAMPLE_CHUNK = 2 << 20, SAMPLE_BYTES = 64 << 20 };

struct process {
  struct tracked tracked;
  struct copies copies;
};

static struct process *processes;
static size_t count;
static struct spans ranges, written;
static int pages_file = -1;
static uint64_t length;

static int complain(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  return 1;
}

static struct process *process_of(pid_t pid) {
  for (size_t i = 0; i < count; i++)
    if (processes[i].tracked.pid == pid) return &processes[i];
  struct process *more = realloc(processes, (count + 1) * sizeof *more);
  if (!more) return NULL;
  processes = more;
  processes[count] = (struct process){0};
  if (track_open(&processes[count].tracked, pid) < 0) return NULL; /* it is gone */
  return &processes[count++];
}

static int append(const uint8_t *data, uint64_t bytes) {
  for (uint64_t done = 0; done < bytes;) {
    ssize_t now = write(pages_file, data + done, bytes - done);
    if (now < 0 && errno == EINTR) continue;
    if (now <= 0) return -1;
    done += (uint64_t)now;
  }
  length += bytes;
  return 0;
}

/* What can be read of them: what the process has given up meanwhile has nobody to miss it. */
static int copy_spans(struct process *process, const struct spans *spans) {
  static uint8_t block[BLOCK];
  struct copies newer = {0};
  int result = 0;
  for (size_t i = 0; result == 0 && i < spans->count; i++) {
    for (uint64_t at = spans->all[i].start; at < spans->all[i].end;) {
      uint64_t left = spans->all[i].end - at, wanted = left < BLOCK ? left : BLOCK;
      ssize_t now = pread(process->tracked.memory, block, wanted, (off_t)at);
      if (now < PAGE) {
        at += PAGE;
        continue;
      }
      uint64_t bytes = (uint64_t)now / PAGE * PAGE;
      struct copy copy = {.pid = process->tracked.inner, .address = at, .bytes = bytes, .offset = length};
      if (append(block, bytes) < 0 || copies_add(&newer, copy) < 0) {
        result = -1;
        break;
      }
      at += bytes;
    }
  }
  if (result == 0) result = copies_overlay(&process->copies, &newer);
  free(newer.all);
  return result;
}

static int copy_written(struct process *process, bool is_last) {
  struct tracked *tracked = &process->tracked;
  int seen = track_mappings(tracked, &ranges);
  if (seen == 0) seen = track_written(tracked, &ranges, !is_last, &written);
  if (seen == -ESRCH) return 0;
  if (seen < 0) {
    errno = -seen;
    return -1;
  }
  if (is_last && tracked->uffd >= 0) {
    close(tracked->uffd); /* whoever looks at it after this sees nothing of it */
    tracked->uffd = -1;
  }
  return copy_spans(process, &written);
}

static int copy_all(char *pids, bool is_last) {
  for (char *word = strtok(pids, " \n"); word; word = strtok(NULL, " \n")) {
    struct process *process = process_of((pid_t)atoi(word));
    if (process && copy_written(process, is_last) < 0) return -1;
  }
  return 0;
}

static int by_inner(const void *one, const void *other) {
  const uint32_t a = ((const struct process *)one)->tracked.inner, b = ((const struct process *)other)->tracked.inner;
  return a < b ? -1 : a > b;
}

/* What of it is not in the file yet. -1: some of it cannot be had, so it must not be left. */
static int copy_missing(const struct missing *missing) {
  uint64_t end = missing->address + (uint64_t)missing->pages * PAGE;
  for (size_t i = 0; i < count; i++) {
    struct process *process = &processes[i];
    if (process->tracked.inner != missing->pid) continue;
    written.count = 0;
    if (copies_gaps(&process->copies, missing->address, end, &written) < 0 || copy_spans(process, &written) < 0) return -1;
    written.count = 0;
    if (copies_gaps(&process->copies, missing->address, end, &written) < 0) return -1;
    if (written.count == 0) return 0;
  }
  errno = ESRCH;
  return -1;
}

static int copy_rest(void) {
  struct missing missing;
  FILE *table = fopen("pages.table", "re");
  if (!table) return -1;
  while (fread(&missing, sizeof missing, 1, table) == 1)
    if (copy_missing(&missing) < 0) return -1;
  fclose(table);
  FILE *index = fopen("copied.index", "we");
  if (!index) return -1;
  qsort(processes, count, sizeof *processes, by_inner); /* it is searched */
  for (size_t i = 0; i < count; i++)
    if (fwrite(processes[i].copies.all, sizeof(struct copy), processes[i].copies.count, index) != processes[i].copies.count)
      return -1;
  return fclose(index);
}

static int serve(const char *directory) {
  char *line = NULL;
  size_t room = 0;
  if (chdir(directory) < 0) return complain(directory);
  pages_file = open("copied.pages", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (pages_file < 0) return complain("copied.pages");
  while (getline(&line, &room, stdin) > 0) {
    uint64_t before = length;
    int result = -1;
    errno = EINVAL;
    if (strncmp(line, "round ", 6) == 0) result = copy_all(line + 6, false);
    else if (strncmp(line, "last ", 5) == 0) result = copy_all(line + 5, true);
    else if (strcmp(line, "rest\n") == 0) result = copy_rest();
    if (result < 0) return complain("memory");
    printf("copied %lu\n", length - before);
    fflush(stdout);
  }
  return 0;
}

/* Pieces of it all over, so that no more than about so much is watched. */
static int sample(const struct spans *all, uint64_t share, struct spans *pieces) {
  uint64_t at = 0;
  pieces->count = 0;
  for (size_t i = 0; i < all->count; i++)
    for (uint64_t start = all->all[i].start; start < all->all[i].end; at++) {
      uint64_t end = (start / SAMPLE_CHUNK + 1) * SAMPLE_CHUNK;
      if (end > all->all[i].end) end = all->all[i].end;
      if (at % share == 0 && spans_add(pieces, start, end) < 0) return -ENOMEM;
      start = end;
    }
  return 0;
}

static void sleep_ms(long ms) {
  struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&pause, &pause) < 0 && errno == EINTR) continue;
}

static int rate(long ms, char **pids) {
  struct spans all = {0};
  struct spans pieces[1024] = {0};
  uint64_t bytes = 0, watched = 0, dirty = 0;
  for (; *pids && count < sizeof pieces / sizeof *pieces; pids++)
    if (!process_of((pid_t)atoi(*pids))) continue;
  for (size_t i = 0; i < count; i++) {
    struct tracked *tracked = &processes[i].tracked;
    if (track_mappings(tracked, &all) < 0 || track_written(tracked, &all, false, &written) < 0) continue;
    bytes += spans_bytes(&written);
  }
  uint64_t share = bytes / SAMPLE_BYTES + 1;
  for (size_t i = 0; i < count; i++) {
    struct tracked *tracked = &processes[i].tracked;
    if (track_mappings(tracked, &all) < 0 || track_written(tracked, &all, false, &written) < 0) continue;
    if (sample(&written, share, &pieces[i]) < 0 || track_written(tracked, &pieces[i], true, &written) < 0) continue;
    watched += spans_bytes(&pieces[i]);
  }
  sleep_ms(ms);
  for (size_t i = 0; i < count; i++)
    if (track_written(&processes[i].tracked, &pieces[i], false, &written) == 0) dirty += spans_bytes(&written);
  double part = watched == 0 ? 0 : (double)dirty / (double)watched;
  printf("%lu %lu\n", bytes, (uint64_t)(part * (double)bytes));
  return 0;
}

/* All of it, on a child that writes one page of two. */
static int probe(void) {
  uint8_t *memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int said[2], told[2];
  char byte = 0;
  if (memory == MAP_FAILED || pipe2(said, O_CLOEXEC) < 0 || pipe2(told, O_CLOEXEC) < 0) return complain("memory");
  pid_t child = fork();
  if (child < 0) return complain("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    memset(memory, 1, 2 * PAGE);
    if (write(said[1], &byte, 1) != 1 || read(told[0], &byte, 1) != 1) _exit(1);
    memory[0] = 2;
    if (write(said[1], &byte, 1) != 1) _exit(1);
    for (;;) pause();
  }
  struct tracked tracked;
  struct span span = {(uint64_t)(uintptr_t)memory, (uint64_t)(uintptr_t)memory + 2 * PAGE};
  struct spans both = {&span, 1, 1};
  const char *trouble = NULL;
  errno = 0;
  if (read(said[0], &byte, 1) != 1 || track_open(&tracked, child) < 0) trouble = "a process of its own cannot be looked at";
  else if (tracked.uffd < 0)
    trouble = "no userfaultfd that tells of writes (Linux 6.7) can be made in a process (x86-64, by ptrace)";
  else if (track_mappings(&tracked, &ranges) < 0 || track_written(&tracked, &both, true, &written) < 0)
    trouble = "PAGEMAP_SCAN (Linux 6.7)";
  else if (write(told[1], &byte, 1) != 1 || read(said[0], &byte, 1) != 1 || track_written(&tracked, &both, false, &written) < 0 ||
           written.count != 1 || written.all[0].start != span.start || spans_bytes(&written) != PAGE)
    trouble = "the kernel does not tell which pages were written";
  kill(child, SIGKILL);
  waitpid(child, NULL, __WALL);
  if (trouble) fprintf(stderr, "%s\n", trouble);
  return trouble ? 1 : 0;
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  umask(077);
  if (argc == 2 && strcmp(argv[1], "--probe") == 0) return probe();
  if (argc >= 4 && strcmp(argv[1], "--rate") == 0) return rate(atol(argv[2]), argv + 3);
  if (argc == 2 && argv[1][0] != '-') return serve(argv[1]);
  errno = EINVAL;
  return complain("arguments");
}
