/* Holds on to things that processes hold, for tests that save and restore it.
 *
 * usage: holder uring            an io_uring, which cannot be saved
 *        holder connect PATH     a connection to a unix socket
 *        holder keep             threads, a timer, pipes, sockets, files in memory with and without a name, shared memory and
 *                                semaphores and messages of System V, memory that is locked, a watch on a directory;
 *                                at SIGUSR1 it looks whether all is as it was: `whole`, exit 0, or what is not, exit 1
 *        holder full             connections between two processes, each full in both directions; at SIGUSR1 both read what was
 *                                sent: `whole N`, N being the bytes, exit 0, or what is not, exit 1
 * Prints `ready` when it holds it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
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

/* Not by pause(2): a restored one begins anew, also when the signal has come before it. */
static void await_asked(void) {
  while (!asked) usleep(10000);
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

enum { locked_bytes = 1 << 20 };

struct message {
  long type;
  char text[16];
};

/* Nobody else may read them. */
static struct ipc {
  int memory, semaphores, messages, watch;
  char *segment, *locked;
} ipc;

static void make_ipc(void) {
  const struct message message = {1, "in a queue"};
  ipc.memory = shmget(IPC_PRIVATE, 1 << 20, IPC_CREAT | 0600);
  ipc.semaphores = semget(IPC_PRIVATE, 2, IPC_CREAT | 0600);
  ipc.messages = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
  expect(ipc.memory >= 0 && ipc.semaphores >= 0 && ipc.messages >= 0, "shmget, semget, msgget");
  ipc.segment = shmat(ipc.memory, NULL, 0);
  expect(ipc.segment != (char *)-1, "shmat");
  strcpy(ipc.segment + 70000, "in a segment");
  expect(semctl(ipc.semaphores, 1, SETVAL, 5) == 0, "semctl");
  expect(msgsnd(ipc.messages, &message, sizeof message.text, 0) == 0, "msgsnd");
  struct rlimit most;
  expect(getrlimit(RLIMIT_MEMLOCK, &most) == 0, "getrlimit");
  most.rlim_cur = most.rlim_max;
  expect(setrlimit(RLIMIT_MEMLOCK, &most) == 0, "setrlimit");
  ipc.locked = mmap(NULL, locked_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  expect(ipc.locked != MAP_FAILED && mlock(ipc.locked, locked_bytes) == 0, "mlock");
  ipc.watch = inotify_init1(IN_NONBLOCK);
  expect(ipc.watch >= 0 && inotify_add_watch(ipc.watch, "/tmp", IN_CREATE) >= 0, "inotify");
}

static void expect_ipc(void) {
  struct message message = {0};
  char event[sizeof(struct inotify_event) + 256];
  expect(strcmp(ipc.segment + 70000, "in a segment") == 0, "a segment of shared memory");
  expect(semctl(ipc.semaphores, 1, GETVAL) == 5, "a semaphore");
  expect(msgrcv(ipc.messages, &message, sizeof message.text, 0, IPC_NOWAIT) == sizeof message.text, "a message");
  expect(strcmp(message.text, "in a queue") == 0, "a message");
  close(file_of("/tmp/watched", 0, "a"));
  expect(read(ipc.watch, event, sizeof event) > 0, "a watch on a directory");
  shmctl(ipc.memory, IPC_RMID, NULL);
  semctl(ipc.semaphores, 0, IPC_RMID);
  msgctl(ipc.messages, IPC_RMID, NULL);
}

static void keep(void) {
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) expect(pthread_create(&threads[i], NULL, count, &counts[i]) == 0, "threads");

  make_ipc();
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
    await_asked();
    _exit(strcmp(shared, "shared with a child") == 0 ? 42 : 1);
  }
  printf("ready\n");
  fflush(stdout);
  await_asked();

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
  expect_ipc();
  expect(kill(child, SIGUSR1) == 0 && waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 42, "a child");
  printf("whole\n");
  fflush(stdout);
}

enum { connections = 8 };

/* What the connection takes until it is full: an endless count of 8 bytes each. */
static uint64_t fill(int fd) {
  uint64_t sent = 0, words[512];
  int hunger = 0;
  while (hunger < 20) {
    for (size_t i = 0; i < 512; i++) words[i] = sent / 8 + i;
    size_t skip = sent % 8;
    ssize_t n = send(fd, (char *)words + skip, sizeof words - skip, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
      sent += (uint64_t)n;
      hunger = 0;
    } else {
      expect(errno == EAGAIN, "a connection that is being filled");
      usleep(10000);
      hunger++;
    }
  }
  return sent;
}

/* How much comes until the other side has nothing more to send. */
static uint64_t drained(int fd) {
  static unsigned char bytes[1 << 16];
  uint64_t got = 0;
  for (;;) {
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n == 0) return got;
    expect(n > 0, strerror(errno));
    for (ssize_t i = 0; i < n; i++, got++)
      expect(bytes[i] == (unsigned char)((got / 8) >> (got % 8 * 8)), "what a connection held");
  }
}

static uint64_t fill_all(const int *fds) {
  uint64_t sent = 0;
  for (int i = 0; i < connections; i++) sent += fill(fds[i]);
  return sent;
}

static uint64_t drain_all(const int *fds) {
  uint64_t got = 0;
  for (int i = 0; i < connections; i++) expect(shutdown(fds[i], SHUT_WR) == 0, strerror(errno));
  for (int i = 0; i < connections; i++) got += drained(fds[i]);
  return got;
}

static void full(void) {
  int near[connections], far[connections], told[2];
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  expect(listener >= 0 && bind(listener, (struct sockaddr *)&address, length) == 0, "bind");
  expect(listen(listener, connections) == 0 && getsockname(listener, (struct sockaddr *)&address, &length) == 0, "listen");
  for (int i = 0; i < connections; i++) {
    near[i] = socket(AF_INET, SOCK_STREAM, 0);
    expect(near[i] >= 0 && connect(near[i], (struct sockaddr *)&address, length) == 0, "connect");
    far[i] = accept(listener, NULL, NULL);
    expect(far[i] >= 0, "accept");
  }
  expect(pipe(told) == 0, "pipe");
  pid_t child = fork();
  for (int i = 0; i < connections; i++) close(child == 0 ? near[i] : far[i]);
  uint64_t sent = fill_all(child == 0 ? far : near);
  if (child == 0) {
    expect(write(told[1], &sent, sizeof sent) == sizeof sent, "pipe");
    await_asked();
    uint64_t got = drain_all(far);
    _exit(write(told[1], &got, sizeof got) == sizeof got ? 42 : 1);
  }
  uint64_t theirs, arrived;
  expect(read(told[0], &theirs, sizeof theirs) == sizeof theirs, "pipe");
  printf("ready\n");
  fflush(stdout);
  await_asked();
  expect(kill(child, SIGUSR1) == 0, "kill");
  expect(drain_all(near) == theirs, "not all came that the child had sent");
  expect(read(told[0], &arrived, sizeof arrived) == sizeof arrived && arrived == sent, "not all came to the child");
  printf("whole %llu\n", (unsigned long long)(sent + theirs));
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
  if (strcmp(what, "full") == 0) {
    full();
    return 0;
  }
  if (strcmp(what, "connect") == 0 && argc > 2) connect_to(argv[2]);
  else if (strcmp(what, "uring") == 0) make_uring();
  else return 2;
  printf("ready\n");
  fflush(stdout);
  await_asked();
  return 0;
}
