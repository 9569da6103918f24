/* The library behind muster-checkpoint.h. The agent writes orders ("before 17", "continue 17", "restart 17") into a FIFO of the
 * process in /dev/shm, which is the job's own and travels with it; answers ("ready 17", "refused 17 11") are put beside it. A
 * thread waits at the FIFO; it costs nothing until something is written. Ranks that save themselves are asked by a file instead, and
 * answer with one beside it: they look when it suits them.
 */
#include "muster-checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH "/dev/shm/muster-checkpoint.%d"

struct entry {
  muster_checkpoint_callback callback;
  void *argument;
};

static pthread_mutex_t registering = PTHREAD_MUTEX_INITIALIZER;
/* Held by whoever is in a section, and by the thread from before a checkpoint until after it. */
static pthread_rwlock_t sections = PTHREAD_RWLOCK_INITIALIZER;
static struct entry *entries;
static size_t count;
static int fifo = -1;
static _Thread_local int depth;

static void answer(const char *word, unsigned long long number, int error) {
  char path[64], aside[72], text[64];
  snprintf(path, sizeof path, PATH ".answer", (int)getpid());
  snprintf(aside, sizeof aside, "%s.new", path);
  int length = snprintf(text, sizeof text, "%s %llu %d\n", word, number, error);
  int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return;
  ssize_t written = write(fd, text, (size_t)length);
  close(fd);
  if (written == length) rename(aside, path);
}

static int call_before(void) {
  for (size_t i = count; i > 0; i--) {
    int error = entries[i - 1].callback(MUSTER_BEFORE_CHECKPOINT, entries[i - 1].argument);
    if (error == 0) continue;
    /* Those that have let go of something take it again. */
    for (size_t k = i; k < count; k++) entries[k].callback(MUSTER_AFTER_CONTINUE, entries[k].argument);
    return error;
  }
  return 0;
}

static void call_after(enum muster_checkpoint_event event) {
  for (size_t i = 0; i < count; i++) entries[i].callback(event, entries[i].argument);
}

static void *wait_for_orders(void *unused) {
  (void)unused;
  char text[128];
  unsigned long long number, pending = 0;
  for (;;) {
    ssize_t length = read(fifo, text, sizeof text - 1);
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return NULL;
    text[length] = '\0';
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
      if (sscanf(line, "before %llu", &number) == 1) {
        if (pending == 0) {
          pthread_mutex_lock(&registering);
          pthread_rwlock_wrlock(&sections);
          int error = call_before();
          if (error != 0) {
            pthread_rwlock_unlock(&sections);
            pthread_mutex_unlock(&registering);
            answer("refused", number, error);
            continue;
          }
        }
        pending = number;
        answer("ready", number, 0);
      } else if (pending != 0) {
        int is_restart = strncmp(line, "restart ", 8) == 0;
        if (!is_restart && strncmp(line, "continue ", 9) != 0) continue;
        call_after(is_restart ? MUSTER_AFTER_RESTART : MUSTER_AFTER_CONTINUE);
        pending = 0;
        pthread_rwlock_unlock(&sections);
        pthread_mutex_unlock(&registering);
      }
    }
  }
}

static void remove_files(void) {
  char path[64];
  snprintf(path, sizeof path, PATH, (int)getpid());
  unlink(path);
  snprintf(path, sizeof path, PATH ".answer", (int)getpid());
  unlink(path);
}

static int begin(void) {
  char path[64];
  pthread_t thread;
  sigset_t all, before;
  snprintf(path, sizeof path, PATH, (int)getpid());
  unlink(path);
  if (mkfifo(path, 0600) < 0) return EIO;
  /* For reading and writing, so that it never comes to an end. */
  fifo = open(path, O_RDWR | O_CLOEXEC);
  if (fifo < 0) return EIO;
  /* Signals are the program's. */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&thread, NULL, wait_for_orders, NULL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error != 0) return EAGAIN;
  pthread_detach(thread);
  atexit(remove_files);
  return 0;
}

int muster_checkpoint_register(muster_checkpoint_callback callback, void *argument) {
  if (!getenv("MUSTER_RANK")) return 0;
  pthread_mutex_lock(&registering);
  struct entry *more = realloc(entries, sizeof *entries * (count + 1));
  int error = more ? 0 : ENOMEM;
  if (more) {
    entries = more;
    entries[count++] = (struct entry){callback, argument};
    if (fifo < 0) error = begin();
    if (error != 0) count--;
  }
  pthread_mutex_unlock(&registering);
  return error;
}

void muster_checkpoint_enter(void) {
  if (depth++ == 0) pthread_rwlock_rdlock(&sections);
}

void muster_checkpoint_leave(void) {
  if (--depth == 0) pthread_rwlock_unlock(&sections);
}

/* The checkpoint that `wanted` has told this rank of, and it has not answered. */
static unsigned long long asked;
static unsigned long long answered;

static int path_of(char *path, size_t size, const char *name) {
  const char *directory = getenv("MUSTER_CHECKPOINT_DIR");
  if (!directory) return -1;
  int length = snprintf(path, size, "%s/%s", directory, name);
  return length > 0 && (size_t)length < size ? 0 : -1;
}

/* 0: none is asked for. */
static unsigned long long number_wanted(void) {
  char path[512], text[32];
  if (path_of(path, sizeof path, "wanted") < 0) return 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return 0;
  text[length] = '\0';
  return strtoull(text, NULL, 10);
}

int muster_checkpoint_wanted(void) {
  unsigned long long number = number_wanted();
  asked = number == answered ? 0 : number;
  return asked != 0;
}

int muster_checkpoint_done(int error) {
  char name[32], path[512], aside[520], text[64];
  const char *rank = getenv("MUSTER_RANK");
  unsigned long long number = asked;
  asked = 0;
  if (number == 0 || number_wanted() != number) return ECANCELED;
  snprintf(name, sizeof name, "done.%s", rank ? rank : "");
  if (path_of(path, sizeof path, name) < 0) return EIO;
  snprintf(aside, sizeof aside, "%s.new", path);
  int length = snprintf(text, sizeof text, "%llu %d\n", number, error);
  int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return EIO;
  ssize_t written = write(fd, text, (size_t)length);
  close(fd);
  if (written != length || rename(aside, path) < 0) return EIO;
  answered = number;
  const struct timespec pause = {.tv_nsec = 5000000};
  while (number_wanted() == number) nanosleep(&pause, NULL);
  return 0;
}
