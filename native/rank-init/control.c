/* See control.h. */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "descriptors.h"
#include "lease.h"
#include "pmi.h"
#include "slots.h"

enum { MESSAGE_MAX_BYTES = 1 << 20, MESSAGES_A_TURN = 64, DESCRIPTORS_MAX = 4 };

struct request {
  const struct message *head;
  const uint8_t *body;
  uint32_t length;
  int *descriptor; /* the first one sent along, or -1; set to -1 by whoever keeps it */
};

struct reply {
  struct message head;
  uint32_t words[2];
};

static uint8_t *buffer;
static struct rlimit open_files;
static struct reply waiting;
static size_t waiting_length;

int control_open(struct rlimit open_files_before) {
  int ends[2], bytes = 4 << 20;
  open_files = open_files_before;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return -errno;
  for (int i = 0; i < 2; i++)
    if (setsockopt(ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0)
      setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  buffer = mmap(NULL, MESSAGE_MAX_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (buffer == MAP_FAILED) return -errno;
  madvise(buffer, MESSAGE_MAX_BYTES, MADV_DONTFORK);
  int error = descriptor_move(ends[0], FD_CONTROL);
  return error ? error : descriptor_move(ends[1], FD_CONTROL_AGENT);
}

bool control_is_blocked(void) { return waiting_length > 0; }

void control_flush(void) {
  if (waiting_length == 0) return;
  ssize_t sent = send(FD_CONTROL, &waiting, waiting_length, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS)) return;
  waiting_length = 0;
}

static void answer(const struct request *request, int result, uint32_t words, uint32_t first, uint32_t second) {
  waiting = (struct reply){.head = *request->head, .words = {first, second}};
  waiting.head.type |= REPLY;
  waiting.head.result = result;
  waiting.head.length = words * (uint32_t)sizeof(uint32_t);
  waiting_length = sizeof waiting.head + waiting.head.length;
  /* Whoever reads the reply finds the table true. */
  slots_publish();
  control_flush();
}

/* --- START --- */

static void start_one(const struct child_setting *setting, const struct start_view *view) {
  const struct start_entry *entry = view->entry;
  struct slot *slot = slot_prepare(entry->rank, entry->start_id, entry->flags);
  uint32_t index = slots_table()->slots_used;
  if (!view->meaningful) {
    slot_show_not_started(slot, STAGE_BAD_REQUEST, EINVAL);
    return;
  }
  struct stdio stdio;
  int error = stdio_make(entry, &stdio, slot);
  if (error) {
    slot_show_not_started(slot, STAGE_STDIO, -error);
    return;
  }
  if (slot->fd_pmi >= 0) pmi_prepare(slot->fd_pmi);
  pid_t pid = _Fork();
  if (pid == 0) child_run(setting, view, &stdio, index);
  int fork_error = errno;
  stdio_close_child(&stdio);
  if (pid > 0) {
    slot_show_running(slot, pid);
    return;
  }
  stdio_close_kept(slot, CLOSE_STDIN | CLOSE_STDOUT | CLOSE_STDERR | CLOSE_PMI);
  slot_show_not_started(slot, STAGE_FORK, fork_error);
}

/* Starts what has not been started by an earlier message with the same numbers. */
static int start_all(const void *bytes, size_t length, uint32_t *first) {
  const struct start_file *file = start_file_header(bytes);
  struct child_setting setting = {.file = bytes, .open_files = open_files};
  struct start_view view;
  uint32_t wanted = 0;
  uint64_t offset = file->entries_offset;
  for (uint32_t i = 0; i < file->count; i++) {
    start_entry_at(bytes, length, &offset, &view);
    wanted += slot_of_start(view.entry->rank, view.entry->start_id) < 0;
  }
  struct state_table *table = slots_table();
  if (wanted > table->slots_max - table->slots_used) return -ENOSPC;
  offset = file->entries_offset;
  for (uint32_t i = 0; i < file->count; i++) {
    start_entry_at(bytes, length, &offset, &view);
    int64_t known = slot_of_start(view.entry->rank, view.entry->start_id);
    if (i == 0) *first = known < 0 ? table->slots_used : (uint32_t)known;
    if (known < 0) start_one(&setting, &view);
  }
  return 0;
}

static void start(const struct request *request) {
  if (lease_forbids()) {
    answer(request, -EKEYEXPIRED, 2, 0, 0);
    return;
  }
  const int needed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  int seals = fcntl(*request->descriptor, F_GET_SEALS);
  struct stat stat;
  if (seals < 0 || (seals & needed) != needed || fstat(*request->descriptor, &stat) < 0 ||
      stat.st_size < (off_t)sizeof(struct start_file)) {
    answer(request, -EINVAL, 2, 0, 0);
    return;
  }
  size_t length = (size_t)stat.st_size;
  void *bytes = mmap(NULL, length, PROT_READ, MAP_PRIVATE, *request->descriptor, 0);
  if (bytes == MAP_FAILED) {
    answer(request, -errno, 2, 0, 0);
    return;
  }
  uint32_t first = slots_table()->slots_used;
  int result = start_file_check(bytes, length);
  if (result == 0) result = start_all(bytes, length, &first);
  uint32_t count = result == 0 ? start_file_header(bytes)->count : 0;
  munmap(bytes, length);
  answer(request, result, 2, first, count);
}

/* --- signals --- */

/* A child that has not reached setsid yet has no group of its own. */
static bool reach(const struct slot *slot, int signal) {
  if (slot->state != SLOT_RUNNING) return false;
  return kill(-slot->pid, signal) == 0 || kill(slot->pid, signal) == 0;
}

static void send_signal(const struct request *request) {
  const struct signal_order *order = (const void *)request->body;
  struct state_table *table = slots_table();
  if (request->length < sizeof *order || order->count > (request->length - sizeof *order) / sizeof(uint32_t) ||
      order->signal < 1 || order->signal > SIGRTMAX) {
    answer(request, -EINVAL, 1, 0, 0);
    return;
  }
  if (order->signal == SIGCONT && lease_forbids()) {
    answer(request, -EKEYEXPIRED, 1, 0, 0);
    return;
  }
  /* Without a number it is for programs beside the ranks, which may be signalled as often as need be. */
  bool beside = order->signal_id == 0 && order->count > 0;
  if (!beside && order->signal_id <= table->last_signal) {
    answer(request, -EALREADY, 1, 0, 0);
    return;
  }
  if (!beside) {
    table->last_signal = order->signal_id;
    slots_touch();
  }
  uint32_t reached = 0;
  uint32_t count = order->count ? order->count : table->slots_used;
  for (uint32_t i = 0; i < count; i++) {
    const struct slot *slot = slot_at(order->count ? order->slots[i] : i);
    if (slot && (!beside || slot->rank == START_NO_RANK)) reached += reach(slot, order->signal);
  }
  answer(request, 0, 1, reached, 0);
}

static void kill_all(const struct request *request) {
  int result = kill(-1, SIGKILL) < 0 && errno != ESRCH ? -errno : 0;
  answer(request, result, 0, 0, 0);
}

static void renew(const struct request *request) {
  struct renewal renewal;
  if (request->length < sizeof renewal) {
    answer(request, -EINVAL, 0, 0, 0);
    return;
  }
  memcpy(&renewal, request->body, sizeof renewal);
  answer(request, lease_renew(&renewal), 0, 0, 0);
}

/* --- descriptors --- */

static void close_kept(const struct request *request) {
  uint32_t words[2];
  struct slot *slot = NULL;
  if (request->length >= sizeof words) {
    memcpy(words, request->body, sizeof words);
    slot = slot_at(words[0]);
  }
  if (slot) {
    stdio_close_kept(slot, words[1]);
    slots_touch();
  }
  answer(request, slot ? 0 : -EINVAL, 0, 0, 0);
}

static void hold(const struct request *request) {
  uint32_t index;
  struct slot *slot = NULL;
  if (request->length >= sizeof index && *request->descriptor >= 0) {
    memcpy(&index, request->body, sizeof index);
    slot = slot_at(index);
  }
  if (slot) {
    stdio_close_kept(slot, CLOSE_INPUT);
    slot->fd_input = *request->descriptor;
    *request->descriptor = -1;
    slots_touch();
  }
  answer(request, slot ? 0 : -EINVAL, 0, 0, 0);
}

/* --- dispatch --- */

static void carry_out(const struct request *request) {
  switch (request->head->type) {
  case MSG_HELLO:
    slots_reap();
    answer(request, 0, 1, MUSTER_ABI, 0);
    return;
  case MSG_START: start(request); return;
  case MSG_ANSWER: pmi_answer(request->body, request->length); return;
  case MSG_SIGNAL: send_signal(request); return;
  case MSG_CLOSE: close_kept(request); return;
  case MSG_HOLD: hold(request); return;
  case MSG_KILL: kill_all(request); return;
  case MSG_EXIT: kill(-1, SIGKILL); _exit(0);
  case MSG_STOP: answer(request, lease_hold(true), 0, 0, 0); return;
  case MSG_CONTINUE: answer(request, lease_hold(false), 0, 0, 0); return;
  case MSG_RENEW: renew(request); return;
  default: answer(request, -ENOSYS, 0, 0, 0);
  }
}

/* One message; false when there is none. */
static bool read_one(void) {
  union {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
  } ancillary;
  struct iovec part = {.iov_base = buffer, .iov_len = MESSAGE_MAX_BYTES};
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary};
  ssize_t got = recvmsg(FD_CONTROL, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return errno == EINTR;

  int descriptors[DESCRIPTORS_MAX] = {-1, -1, -1, -1};
  for (struct cmsghdr *at = CMSG_FIRSTHDR(&header); at; at = CMSG_NXTHDR(&header, at))
    if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SCM_RIGHTS)
      memcpy(descriptors, CMSG_DATA(at), at->cmsg_len - CMSG_LEN(0));
  const struct message *head = (const void *)buffer;
  if ((size_t)got >= sizeof *head && head->magic == MUSTER_MAGIC) {
    struct request request = {.head = head, .body = buffer + sizeof *head, .length = head->length, .descriptor = &descriptors[0]};
    bool whole = !(header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && head->length == (size_t)got - sizeof *head;
    if (whole) carry_out(&request);
    else answer(&request, -EINVAL, 0, 0, 0);
  }
  for (int i = 0; i < DESCRIPTORS_MAX; i++)
    if (descriptors[i] >= 0) close(descriptors[i]);
  return true;
}

void control_read(void) {
  for (int i = 0; i < MESSAGES_A_TURN && !control_is_blocked() && read_one(); i++) continue;
}
