/* Holds on to things that processes hold, for tests that save and restore it.
 *
 * usage: holder uring            an io_uring, which cannot be saved
 *        holder connect PATH     a connection to a unix socket
 *        holder keep             threads, a timer, pipes, sockets, files in memory with and without a name, shared memory;
 *                                at SIGUSR1 it looks whether all is as it was: `whole`, exit 0, or what is not, exit 1
 * Prints `ready` when it holds it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static _Thread_local long local_count;
static _Atomic long counts[4];
static volatile sig_atomic_t asked;

static void on_signal(int signal) {
  (void)signal;
  asked = 1;
}

static _Noreturn void broken(const char *what) {
  printf("not whole: %s\n", what);
  fflush(stdout);
  exit(1);
}

static void expect(int is_so, const char *what) {
  if (!is_so) broken(what);
}

static void *count(void *argument) {
  _Atomic long *shown = argument;
  for (;;) {
    if (++local_count != atomic_load(shown) + 1) broken("what is local to a thread");
    atomic_store(shown, local_count);
    usleep(1000);
  }
  return NULL;
}

static int file_of(const char *path, int flags, const char *text) {
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | flags, 0600);
  expect(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
  return fd;
}

static void expect_text(int fd, const char *text, const char *what) {
  char found[64] = "";
  expect(pread(fd, found, sizeof found - 1, 0) == (ssize_t)strlen(text) && strcmp(found, text) == 0, what);
}

static void keep(void) {
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) expect(pthread_create(&threads[i], NULL, count, &counts[i]) == 0, "threads");

  int linked = file_of("/dev/shm/linked", 0, "linked in memory");
  int unlinked = file_of("/tmp/unlinked", O_APPEND, "without a name");
  expect(unlink("/tmp/unlinked") == 0 && flock(linked, LOCK_EX) == 0, "unlink, flock");
  int memory = memfd_create("memory", 0);
  expect(memory >= 0 && ftruncate(memory, 4096) == 0, "memfd");
  char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  expect(shared != MAP_FAILED, "mmap");
  strcpy(shared, "shared with a child");

  int words[2], ends[2];
  expect(pipe(words) == 0 && write(words[1], "in a pipe", 9) == 9, "pipe");
  expect(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0 && write(ends[0], "in a socket", 11) == 11, "socketpair");
  int event = eventfd(7, 0);
  int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  const struct itimerspec each = {.it_value = {.tv_sec = 3600}, .it_interval = {.tv_sec = 3600}};
  expect(event >= 0 && timer >= 0 && timerfd_settime(timer, 0, &each, NULL) == 0, "eventfd, timerfd");
  pid_t child = fork();
  if (child == 0) {
    while (!asked) pause();
    _exit(strcmp(shared, "shared with a child") == 0 ? 42 : 1);
  }
  printf("ready\n");
  fflush(stdout);
  while (!asked) pause();

  char got[32] = "";
  uint64_t number = 0;
  struct itimerspec left;
  struct stat state;
  int status;
  expect_text(linked, "linked in memory", "a file of /dev/shm");
  expect(stat("/dev/shm/linked", &state) == 0 && state.st_size == 16, "its name");
  expect_text(unlinked, "without a name", "a file without a name");
  expect(read(words[0], got, sizeof got) == 9 && strncmp(got, "in a pipe", 9) == 0, "what was in a pipe");
  expect(read(ends[1], got, sizeof got) == 11 && strncmp(got, "in a socket", 11) == 0, "what was in a socket");
  expect(read(event, &number, 8) == 8 && number == 7, "an eventfd");
  expect(timerfd_gettime(timer, &left) == 0 && left.it_value.tv_sec > 3000, "a timer");
  long before = atomic_load(&counts[0]);
  usleep(100000);
  expect(atomic_load(&counts[0]) > before, "a thread stands still");
  expect(kill(child, SIGUSR1) == 0 && waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 42, "a child");
  printf("whole\n");
  fflush(stdout);
}

static void connect_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  expect(fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0, path);
}

static void make_uring(void) {
  struct io_uring_params parameters = {0};
  expect(syscall(SYS_io_uring_setup, 4, &parameters) >= 0, strerror(errno));
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGUSR1, &action, NULL);
  if (strcmp(what, "keep") == 0) {
    keep();
    return 0;
  }
  if (strcmp(what, "connect") == 0 && argc > 2) connect_to(argv[2]);
  else if (strcmp(what, "uring") == 0) make_uring();
  else return 2;
  printf("ready\n");
  fflush(stdout);
  while (!asked) pause();
  return 0;
}
