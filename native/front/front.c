/* See front.h. One loop over poll(2): signals (a signalfd), the control connection, agents, stdin, stdout, stderr. */
#include "front.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "clock.h"
#include "input.h"
#include "packet.h"
#include "protocol.h"
#include "request.h"
#include "sandboxes.h"
#include "streams.h"

enum {
  FAILED = 1,
  BROKEN_PIPE = 128 + SIGPIPE,
  MOST_SIGNALS = 16,
  PACKETS_A_TURN = 64,
  RELAYED_MOST = 16 << 20,
  INTERRUPTS_MOST = 3, /* with no control plane to hear them */
  KEY_BYTES = 16,
  JOB_LABELS = 1,
  JOB_TELLS = 2,
};
static const uint64_t SECOND_NS = 1000000000;
static const uint64_t RETRY_NS = 100000000;

static struct {
  const char *path;
  int control; /* -1: lost */
  uint64_t retry_ns, give_up_ns;
  char uid[256], token[512];
  bool accepted;
  int request; /* its memfd, until the job is accepted */
  char key[2 * KEY_BYTES + 1];
  int end_signal,
      ends_sent; /* the last request to end the job, and how many were sent: a killed control plane may not have kept them */
  int signals[MOST_SIGNALS]; /* not yet sent */
  size_t signal_count;
  int interrupts;
  bool suspending, suspended;
  uint64_t suspend_ns;
  bool done;
  int code;
  uint32_t sandboxes_needed;
  uint64_t done_ns; /* agents are waited for until then */
  char *text;
  bool out_ended;
  int exit; /* the exit code, -1: go on */
} job = {.control = -1, .request = -1, .exit = -1};

static struct sink out, err;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
  char text[1024];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(text, sizeof text, format, list);
  va_end(list);
  dprintf(STDERR_FILENO, "muster: %.*s\n", length < (int)sizeof text ? length : (int)sizeof text - 1, text);
}

static void fail(const char *text) {
  say("%s", text);
  job.exit = FAILED;
}

/* Terminals and pipes may be full: waits, for at most a second a time, for the last words. */
static void print_all(int fd, const char *text, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t count = write(fd, text + done, length - done);
    if (count > 0) {
      done += (size_t)count;
      continue;
    }
    if (count < 0 && errno == EINTR) continue;
    struct pollfd room = {fd, POLLOUT, 0};
    if (count == 0 || errno != EAGAIN || poll(&room, 1, 1000) <= 0) return;
  }
}

/* Signals. */

static bool ends_job(int signal) { return signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT; }

static void send_signals(void) {
  while (job.signal_count > 0 && job.control >= 0) {
    int32_t signal = job.signals[0];
    if (packet_send(job.control, FRONT_SIGNAL, &signal, sizeof signal, -1) != 0) return;
    if (ends_job(signal)) {
      job.end_signal = signal;
      job.ends_sent++;
    }
    job.signal_count--;
    memmove(job.signals, job.signals + 1, job.signal_count * sizeof *job.signals);
  }
}

/* To a new control plane: asking once more for what was asked for already does no harm. */
static void send_ends_again(void) {
  int32_t signal = job.end_signal;
  for (int i = 0; i < job.ends_sent && i < 2; i++) packet_send(job.control, FRONT_SIGNAL, &signal, sizeof signal, -1);
}

static void pass_on(int signal) {
  if (job.signal_count < MOST_SIGNALS) job.signals[job.signal_count++] = signal;
  send_signals();
}

static void stop_here(void) {
  job.suspending = false;
  kill(getpid(), SIGSTOP);
  /* Here again once continued. */
  pass_on(SIGCONT);
}

static void on_signal(int signal) {
  switch (signal) {
  case SIGCONT: /* seen after stop_here, or when only a stop by SIGSTOP ended */ return;
  case SIGTSTP:
    if (job.suspending) return;
    job.suspending = true;
    job.suspend_ns = clock_ns() + 5 * SECOND_NS;
    pass_on(SIGTSTP);
    return;
  case SIGINT:
  case SIGTERM:
  case SIGHUP:
  case SIGQUIT:
    if (job.control < 0 && ++job.interrupts >= INTERRUPTS_MOST) {
      say("giving up: the control plane is away; the job may still be running");
      job.exit = 128 + signal;
    }
    pass_on(signal);
    return;
  default: pass_on(signal);
  }
}

static int signals_open(void) {
  static const int taken[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT};
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
    struct sigaction action;
    /* What our caller ignores (nohup, a background job) stays ignored. */
    if (sigaction(taken[i], NULL, &action) == 0 && action.sa_handler == SIG_IGN) continue;
    sigaddset(&set, taken[i]);
  }
  sigprocmask(SIG_BLOCK, &set, NULL);
  signal(SIGPIPE, SIG_IGN);
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* The control plane. */

static void lose_control(void) {
  if (job.control >= 0) close(job.control);
  job.control = -1;
  if (job.done) return;
  job.retry_ns = clock_ns() + RETRY_NS;
  /* One that falls over each time it is asked is not asked for ever. */
  if (job.accepted || job.give_up_ns == 0) job.give_up_ns = clock_ns() + 30 * SECOND_NS;
}

/* 0, or a negative errno. */
static int submit(int control, bool again) {
  char text[sizeof job.key + 2];
  int length = snprintf(text, sizeof text, "%s %d", job.key, again);
  return packet_send(control, FRONT_RUN, text, (size_t)length, job.request);
}

static int attach(int control) {
  uint8_t body[1024];
  int length = snprintf((char *)body + sizeof(uint64_t), sizeof body - sizeof(uint64_t), "%s %s", job.uid, job.token);
  uint64_t text_length = (uint64_t)length;
  memcpy(body, &text_length, sizeof text_length);
  return packet_send(control, FRONT_ATTACH, body, sizeof text_length + (size_t)length, -1);
}

static void find_control(uint64_t now) {
  if (job.control >= 0 || job.done || job.exit >= 0 || job.retry_ns > now) return;
  job.retry_ns = now + RETRY_NS;
  if (now >= job.give_up_ns) {
    say("the control plane did not come back within 30 s; the job %s: see \"muster get pg\"",
        job.accepted ? "may still be running" : "was not accepted, or only just");
    job.exit = FAILED;
    return;
  }
  int fd = packet_connect(job.path);
  if (fd < 0) return;
  if ((job.accepted ? attach(fd) : submit(fd, true)) != 0) {
    close(fd);
    return;
  }
  job.control = fd;
  job.interrupts = 0;
  streams_tell_again();
  if (input.road == INPUT_RELAY) input_again();
  send_ends_again();
  send_signals();
}

/* "uid name token labels" */
static bool accept_job(const struct packet *packet) {
  char text[2048], name[512];
  unsigned flags;
  if (packet->length >= sizeof text) return false;
  memcpy(text, packet->body, packet->length);
  text[packet->length] = 0;
  if (sscanf(text, "%255s %511s %511s %u", job.uid, name, job.token, &flags) != 4) return false;
  streams.labels = (flags & JOB_LABELS) != 0;
  streams.tells = (flags & JOB_TELLS) != 0;
  job.accepted = true;
  close(job.request);
  job.request = -1;
  sandboxes_of(job.uid, job.token);
  return true;
}

static bool finish(const struct packet *packet) {
  if (packet->length < 8 || job.done) return packet->length >= 8;
  job.done = true;
  job.code = (int)read_u32(packet->body);
  job.sandboxes_needed = read_u32(packet->body + 4);
  job.text = strndup((const char *)packet->body + 8, packet->length - 8);
  job.done_ns = clock_ns() + 5 * SECOND_NS;
  return true;
}

/* False: the other side broke the protocol. */
static bool take(struct packet *packet) {
  if (packet->fd >= 0) close(packet->fd);
  switch (packet->type) {
  case FRONT_TEXT: {
    if (packet->length < 4) return false;
    int fd = read_u32(packet->body) == 1 ? STDOUT_FILENO : STDERR_FILENO;
    print_all(fd, (const char *)packet->body + 4, packet->length - 4);
    return true;
  }
  case FRONT_JOB: return accept_job(packet);
  case FRONT_SANDBOX: return sandboxes_named(packet->body, packet->length) == 0;
  case FRONT_DATA:
    return packet->length >= 16 && streams_relayed(read_u32(packet->body), read_u32(packet->body + 4), read_u64(packet->body + 8),
                                                   packet->body + 16, packet->length - 16) == 0;
  case FRONT_SUSPENDED:
    if (job.suspending) stop_here();
    return true;
  case FRONT_DONE: return finish(packet);
  case FRONT_WINDOW:
    if (packet->length != 16) return false;
    input_window(read_u64(packet->body), read_u64(packet->body + 8));
    return true;
  default: /* of a later version */ return true;
  }
}

static void hear_control(void) {
  for (int i = 0; i < PACKETS_A_TURN && job.control >= 0 && streams.relayed_waiting < RELAYED_MOST; i++) {
    struct packet packet;
    int result = packet_receive(job.control, &packet);
    if (result == 0) return;
    if (result < 0 || !take(&packet)) return lose_control();
  }
}

/* Output. */

static void check_sinks(void) {
  if (out.error && !job.out_ended) {
    job.out_ended = true;
    if (out.error == EPIPE) {
      pass_on(SIGTERM);
      job.exit = BROKEN_PIPE;
    } else if (!job.done) {
      say("cannot write the job's output: %s; ending the job", strerror(out.error));
      pass_on(SIGTERM);
    }
  }
}

/* Whether the job is over and everything that can be shown has been. */
static bool is_over(uint64_t now) {
  if (!job.done) return false;
  streams_end(RELAYED);
  bool all = sandboxes.ended >= job.sandboxes_needed;
  bool busy = out.first || out.owner || out.text_length > 0 || err.first || err.owner || err.text_length > 0;
  if (busy && !out.error) {
    /* Somebody reads slowly: the agents' time only counts while nothing is left to show. */
    job.done_ns = now + 5 * SECOND_NS;
    return false;
  }
  if (all && streams_waiting() == 0) return true;
  if (now < job.done_ns) return false;
  say("the output of %u of %u parts of the job may be incomplete: their agents did not answer within 5 s",
      (unsigned)(job.sandboxes_needed > sandboxes.ended ? job.sandboxes_needed - sandboxes.ended : 1),
      (unsigned)job.sandboxes_needed);
  return true;
}

static bool untold; /* to the control plane, whose queue was full */

static bool tell_shown(const struct stream *stream) {
  if (stream->ordinal != RELAYED) return sandboxes_tell(stream);
  uint8_t record[16];
  memcpy(record, &stream->rank, sizeof stream->rank);
  memcpy(record + 4, &stream->which, sizeof stream->which);
  memcpy(record + 8, &stream->shown, sizeof stream->shown);
  int result = job.control < 0 ? -ENOTCONN : packet_send(job.control, FRONT_SHOWN, record, sizeof record, -1);
  if (result == -EAGAIN) untold = true;
  return result == 0;
}

/* The loop. */

static int until(uint64_t due, uint64_t now, int timeout_ms) {
  if (due == 0) return timeout_ms;
  uint64_t wait = due <= now ? 0 : (due - now + 999999) / 1000000;
  return timeout_ms < 0 || wait < (uint64_t)timeout_ms ? (int)wait : timeout_ms;
}

static int timeout_of(uint64_t now) {
  int timeout_ms = until(sandboxes_due(), now, -1);
  if (job.control < 0 && !job.done) timeout_ms = until(job.retry_ns, now, timeout_ms);
  if (job.suspending) timeout_ms = until(job.suspend_ns, now, timeout_ms);
  if (job.done) timeout_ms = until(job.done_ns, now, timeout_ms);
  return until(input.retry_ns, now, timeout_ms);
}

static void time_passed(uint64_t now) {
  if (job.suspending && now >= job.suspend_ns) stop_here();
  find_control(now);
  sandboxes_connect(now);
  const struct sandbox *lost = sandboxes_lost(now);
  if (lost && !job.done) {
    say("sandbox %u: its agent could not be reached for 30 s%s%s", lost->ordinal, lost->refusal ? ": " : "",
        lost->refusal ? lost->refusal : "");
    job.exit = FAILED;
  }
}

static void hear_signals(int fd) {
  struct signalfd_siginfo info;
  while (read(fd, &info, sizeof info) == (ssize_t)sizeof info) on_signal((int)info.ssi_signo);
}

static bool turn(int signals, bool more) {
  enum { SIGNALS, CONTROL, INPUT, OUT, ERR, AGENTS };
  static struct pollfd *polled;
  static size_t room;
  if (room < AGENTS + sandboxes.count) {
    room = 2 * (AGENTS + sandboxes.count);
    struct pollfd *larger = realloc(polled, room * sizeof *polled);
    if (!larger) {
      fail("out of memory");
      return false;
    }
    polled = larger;
  }
  size_t agents = sandboxes.count;
  untold = false;
  for (size_t i = 0; i < agents; i++) sandboxes.all[i].untold = false;
  streams_tell(tell_shown);
  bool told = input_tell(job.control, sandboxes_fd(input.ordinal));
  bool relay_full = streams.relayed_waiting >= RELAYED_MOST;
  polled[SIGNALS] = (struct pollfd){signals, POLLIN, 0};
  polled[CONTROL] = (struct pollfd){job.control, (short)(relay_full ? 0 : POLLIN), 0};
  if (job.signal_count > 0 || untold || (!told && input.road == INPUT_RELAY)) polled[CONTROL].events |= POLLOUT;
  if (polled[CONTROL].events == 0) polled[CONTROL].fd = -1; /* else a hang-up would be reported without end */
  polled[INPUT] = (struct pollfd){input_wanted() ? STDIN_FILENO : -1, POLLIN, 0};
  polled[OUT] = (struct pollfd){out.blocked ? out.fd : -1, POLLOUT, 0};
  polled[ERR] = (struct pollfd){err.blocked ? err.fd : -1, POLLOUT, 0};
  for (size_t i = 0; i < agents; i++) {
    const struct sandbox *sandbox = &sandboxes.all[i];
    bool full = sandbox->untold || (!told && input.road == INPUT_SPOOL && sandbox->ordinal == input.ordinal);
    polled[AGENTS + i] = (struct pollfd){sandbox->fd, (short)(full ? POLLIN | POLLOUT : POLLIN), 0};
  }
  int ready = poll(polled, AGENTS + agents, more ? 0 : timeout_of(clock_ns()));
  if (ready > 0) {
    if (polled[OUT].revents) out.blocked = false;
    if (polled[ERR].revents) err.blocked = false;
    if (polled[SIGNALS].revents) hear_signals(signals);
    /* Agents first: what they told belongs before the end of the job. */
    for (size_t i = 0; i < agents; i++) {
      struct sandbox *sandbox = &sandboxes.all[i];
      if (!polled[AGENTS + i].revents || sandbox->fd < 0 || sandbox->fd != polled[AGENTS + i].fd) continue;
      const char *trouble = sandboxes_receive(sandbox);
      if (trouble) fail(trouble);
    }
    if (polled[CONTROL].revents & POLLOUT) send_signals();
    if (polled[CONTROL].revents & (POLLIN | POLLHUP | POLLERR)) hear_control();
    if (polled[INPUT].revents) input_read();
  }
  time_passed(clock_ns());
  bool again = streams_copy(&out);
  if (streams.err != &out) again = streams_copy(&err) || again;
  check_sinks();
  return again;
}

static bool make_key(void) {
  uint8_t bytes[KEY_BYTES];
  if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) return false;
  for (size_t i = 0; i < sizeof bytes; i++) snprintf(job.key + 2 * i, 3, "%02x", bytes[i]);
  return true;
}

int front_run(const char *path, int control, int argc, char *const *argv, char *const *envp) {
  job.request = request_make(argc, argv, envp);
  if (job.request < 0) {
    say("cannot describe the job: %s", strerror(-job.request));
    return FAILED;
  }
  if (!make_key()) {
    say("cannot make a key for the job: %s", strerror(errno));
    return FAILED;
  }
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  job.path = path;
  job.control = control;
  int signals = signals_open();
  sink_open(&out, STDOUT_FILENO);
  sink_open(&err, STDERR_FILENO);
  streams.out = &out;
  streams.err = sink_same(STDOUT_FILENO, STDERR_FILENO) ? &out : &err;
  int result = submit(control, false);
  if (result == -EPIPE || result == -ECONNRESET) lose_control();
  else if (result != 0) {
    say("cannot hand the job to the control plane: %s", strerror(-result));
    return FAILED;
  }
  bool more = false;
  while (job.exit < 0 && !is_over(clock_ns())) more = turn(signals, more);
  if (job.exit >= 0) return job.exit;
  if (job.text && *job.text) {
    print_all(STDERR_FILENO, job.text, strlen(job.text));
    if (job.text[strlen(job.text) - 1] != '\n') print_all(STDERR_FILENO, "\n", 1);
  }
  return job.code & 0xff;
}
