/* pager: brings restored processes their memory, which is still where they left.
 *
 *   pager DIRECTORY KILL        KILL: the `cgroup.kill` of the sandbox, there once it is restored
 *   pager --probe               exit status 0 when the kernel can do it; otherwise it says why not
 *
 * In DIRECTORY, the image's, it reads `pages.table`, what is missing, and listens on two sockets: `lazy-pages.socket`, where CRIU hands
 * over a userfaultfd for each process that it restores, and `pages`, where an agent fetches what is asked for. It serves as soon as CRIU
 * has handed over the first, and fetches what nobody waits for when it is told that they run: until then others may stand still whose
 * image is on its way. Once CRIU has said that it is done it goes on by itself, whatever becomes of the agent: without one, processes
 * that need a page wait, until another comes. Where pages have come before the processes (`copied.index`) it takes them from there and asks
 * nobody. When nothing is missing any more it leaves the file `pages.done` and ends.
 *
 * Were it to die before, the kernel would take missing pages for empty ones. So its parent, which it leaves behind for that, holds the same
 * descriptors, and kills the sandbox through KILL before it lets go of them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "store.h"

/* CRIU's word for it. */
enum { RESTORE_FINISHED = 0x52535446 };
/* Asked of the agent and not answered yet, beside what processes wait for. */
enum { WINDOW_BYTES = 8 << 20 };

static struct memory memory;
static struct store store;
/* Of what the store has, what processes wait for. */
static struct {
  struct missing_bytes {
    uint32_t pid;
    uint64_t from, bytes;
  } * all;
  size_t count, room;
} waiting;
static int engine_listener = -1, engine = -1, agent_listener = -1, agent = -1;
static bool restored, going;
static uint64_t asked_bytes;
static struct {
  struct message head;
  uint64_t have;
  uint8_t *data;
} incoming;

static int complain(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  return 1;
}

static int probe(void) {
  const uint64_t needed =
      UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP;
  struct uffdio_api api = {.api = UFFD_API, .features = needed};
  int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return complain("userfaultfd");
  if (ioctl(fd, UFFDIO_API, &api) < 0) return complain("userfaultfd that tells of fork, mremap and munmap");
  close(fd);
  return 0;
}

static int listen_at(const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, name, sizeof address.sun_path - 1);
  unlink(name);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4) < 0) return -1;
  return fd;
}

static void lose_agent(void) {
  if (agent >= 0) close(agent);
  agent = -1;
  incoming.have = 0;
  asked_bytes = 0;
  memory_forget_asked(&memory);
}

static void tell(uint32_t kind, uint32_t pid, uint64_t address, uint64_t bytes) {
  struct message message = {kind, pid, address, bytes};
  if (agent >= 0 && send(agent, &message, sizeof message, MSG_NOSIGNAL) != sizeof message) lose_agent();
}

/* Not before all is known that is missing. */
static void tell_left(void) {
  if (restored) tell(MESSAGE_LEFT, 0, 0, memory_missing(&memory));
}

static void want(uint32_t pid, uint64_t from, uint64_t bytes) {
  if (store.count > 0) {
    if (waiting.count == waiting.room) {
      waiting.room = waiting.room ? waiting.room * 2 : 64;
      waiting.all = realloc(waiting.all, waiting.room * sizeof *waiting.all);
      if (!waiting.all) abort();
    }
    waiting.all[waiting.count++] = (struct missing_bytes){pid, from, bytes};
    return;
  }
  asked_bytes += bytes;
  tell(MESSAGE_WANT, pid, from, bytes);
  if (agent < 0) lose_agent(); /* nobody was asked */
}

static void ask_on(void) {
  uint32_t pid;
  uint64_t from, bytes;
  while (agent >= 0 && asked_bytes < WINDOW_BYTES && memory_next(&memory, &pid, &from, &bytes)) want(pid, from, bytes);
}

/* What has been wanted so far, and while nobody waits the next block. 0, or -1. */
static int fill_from_store(void) {
  uint32_t pid;
  uint64_t from, bytes;
  if (store.count == 0) return 0;
  if (waiting.count == 0 && restored && going && memory_next(&memory, &pid, &from, &bytes)) want(pid, from, bytes);
  while (waiting.count > 0) {
    struct missing_bytes next = waiting.all[--waiting.count];
    while (next.bytes > 0) {
      uint64_t part = next.bytes;
      const uint8_t *data = store_find(&store, next.pid, next.from, &part);
      if (!data || memory_fill(&memory, next.pid, next.from, data, part, want) < 0) return -1;
      next.from += part;
      next.bytes -= part;
    }
  }
  return 0;
}

static int receive_fd(int socket) {
  char byte, control[CMSG_SPACE(sizeof(int))];
  struct iovec part = {&byte, 1};
  struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  if (recvmsg(socket, &head, MSG_CMSG_CLOEXEC) <= 0) return -1;
  struct cmsghdr *first = CMSG_FIRSTHDR(&head);
  int fd;
  if (!first || first->cmsg_type != SCM_RIGHTS) return -1;
  memcpy(&fd, CMSG_DATA(first), sizeof fd);
  return fd;
}

/* A number, and behind that of a process its userfaultfd. Of one that is dead the number is negative. */
static int hear_engine(void) {
  int32_t number;
  ssize_t count = recv(engine, &number, sizeof number, MSG_WAITALL);
  if (count != sizeof number) return -1; /* the restore has failed */
  if (number == RESTORE_FINISHED) {
    restored = true;
    close(engine);
    engine = -1;
    tell_left();
    return 0;
  }
  if (number < 0) return 0;
  int fd = receive_fd(engine);
  return fd < 0 ? -1 : memory_add(&memory, (uint32_t)number, fd);
}

/* All that has come, in whole messages. */
static int hear_agent(void) {
  for (;;) {
    const uint64_t head = sizeof incoming.head;
    bool in_head = incoming.have < head;
    uint64_t end = in_head ? head : head + incoming.head.bytes;
    uint8_t *to = in_head ? (uint8_t *)&incoming.head + incoming.have : incoming.data + (incoming.have - head);
    ssize_t count = recv(agent, to, end - incoming.have, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (count <= 0) {
      lose_agent();
      return 0;
    }
    incoming.have += (uint64_t)count;
    if (incoming.have == head && incoming.head.kind == MESSAGE_GO && incoming.head.bytes == 0) {
      going = true;
      incoming.have = 0;
      continue;
    }
    if (incoming.have == head &&
        (incoming.head.kind != MESSAGE_DATA || incoming.head.bytes == 0 || incoming.head.bytes > MOST_DATA_BYTES)) {
      lose_agent();
      return 0;
    }
    if (incoming.have < head + incoming.head.bytes || incoming.have == head) continue;
    const struct message *message = &incoming.head;
    asked_bytes -= message->bytes < asked_bytes ? message->bytes : asked_bytes;
    if (memory_fill(&memory, message->pid, message->address, incoming.data, message->bytes, want) < 0) return -1;
    incoming.have = 0;
    tell_left();
  }
}

static void accept_agent(void) {
  int fd = accept4(agent_listener, NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0) return;
  lose_agent(); /* a new one goes on */
  agent = fd;
  tell_left();
}

/* One round: whatever has come is taken in. 0, or -1. */
static int turn(void) {
  static struct pollfd *fds;
  static size_t room;
  size_t processes = memory.count;
  if (room < processes + 4 || !fds) {
    room = processes + 64;
    free(fds);
    fds = malloc(room * sizeof *fds);
    if (!fds) return -1;
  }
  fds[0] = (struct pollfd){engine >= 0 ? engine : engine_listener, POLLIN, 0};
  fds[1] = (struct pollfd){agent_listener, POLLIN, 0};
  fds[2] = (struct pollfd){agent, POLLIN, 0};
  for (size_t i = 0; i < processes; i++)
    fds[3 + i] = (struct pollfd){memory.processes[i].gone ? -1 : memory.processes[i].uffd, POLLIN, 0};
  bool is_idle = store.count == 0 || !restored || !going;
  if (poll(fds, processes + 3, is_idle ? -1 : 0) < 0) return errno == EINTR ? 0 : -1;
  for (size_t i = 0; i < processes; i++)
    if (fds[3 + i].revents && memory_events(&memory, i, want) < 0) return -1;
  bool had_agent = agent >= 0;
  if (fds[2].revents && agent >= 0 && hear_agent() < 0) return -1;
  if (fds[1].revents & POLLIN) accept_agent();
  if (fds[0].revents && engine >= 0 && hear_engine() < 0) return -1;
  if (fds[0].revents && engine < 0 && !restored && engine_listener >= 0)
    engine = accept4(engine_listener, NULL, NULL, SOCK_CLOEXEC);
  /* Until all is restored it is of no use without the one who asked for it. */
  if (had_agent && agent < 0 && !restored) return -1;
  if (fill_from_store() < 0) return -1;
  if (store.count == 0 && restored && going) ask_on();
  return 0;
}

static bool is_done(void) { return restored && memory_missing(&memory) == 0; }

static int serve(void) {
  while (!is_done())
    if (turn() < 0) return 1;
  int fd = open("pages.done", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return 1;
  close(fd);
  tell_left();
  return 0;
}

/* Holds what the child has, too. */
static int guard(pid_t child, int kill_file) {
  int status;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
  if (write(kill_file, "1", 1) != 1) pause(); /* better that they wait for ever */
  return 1;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--probe") == 0) return probe();
  if (argc != 3) return complain((errno = EINVAL, "arguments"));
  setsid();
  signal(SIGPIPE, SIG_IGN);
  umask(077);
  if (chdir(argv[1]) < 0) return complain(argv[1]);
  if (memory_read_table(&memory, "pages.table") < 0) return complain("pages.table");
  if (store_open(&store) < 0) return complain("copied.pages");
  incoming.data = malloc(MOST_DATA_BYTES);
  if (!incoming.data) return complain("memory");
  engine_listener = listen_at("lazy-pages.socket");
  agent_listener = listen_at("pages");
  if (engine_listener < 0 || agent_listener < 0) return complain("socket");
  while (!restored)
    if (turn() < 0) return 1;
  close(engine_listener);
  engine_listener = -1;
  int kill_file = open(argv[2], O_WRONLY | O_CLOEXEC);
  if (kill_file < 0) return complain(argv[2]);
  pid_t child = fork();
  if (child < 0) return complain("fork");
  if (child == 0) return serve();
  /* Of what the child serves it keeps the memory's descriptors alone. */
  close(agent_listener);
  if (agent >= 0) close(agent);
  return guard(child, kill_file);
}
