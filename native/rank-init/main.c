/* rank-init: pid 1 of a sandbox. It starts processes, keeps both ends of all that connects them with agents, and collects
 * them; it decides nothing. Protocol: protocol.h. It knows no groups, no PMI, no agents: only slots, bytes and order numbers.
 *
 *   rank-init --slots N [--undumpable] [--ready]
 *
 * --undumpable: ranks have its uid (no other one is mapped), so it hides from their ptrace(2).
 * --ready: descriptor READY_FD is the socket of common/ready.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../common/ready.h"
#include "control.h"
#include "descriptors.h"
#include "lease.h"
#include "protocol.h"
#include "slots.h"

enum { SLOTS_DEFAULT = 1024, SLOTS_MAX = 65536, EXIT_SETUP = 70 };

struct arguments {
  uint32_t slots;
  bool undumpable;
  bool ready;
};

static bool parse(int argc, char **argv, struct arguments *arguments) {
  *arguments = (struct arguments){.slots = SLOTS_DEFAULT};
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--undumpable") == 0) arguments->undumpable = true;
    else if (strcmp(argv[i], "--ready") == 0) arguments->ready = true;
    else if (strcmp(argv[i], "--slots") == 0 && i + 1 < argc) {
      arguments->slots = 0;
      for (const char *digit = argv[++i]; *digit; digit++) {
        if (*digit < '0' || *digit > '9' || arguments->slots > SLOTS_MAX) return false;
        arguments->slots = arguments->slots * 10 + (uint32_t)(*digit - '0');
      }
    } else return false;
  }
  return arguments->slots >= 1 && arguments->slots <= SLOTS_MAX;
}

static void on_signal(int signal) { (void)signal; /* only there to end ppoll */ }

/* Every signal default and blocked; SIGCHLD, and SIGALRM of the lease's timer, are let in by ppoll alone. */
static sigset_t take_signals(void) {
  /* By the bare system call: libc keeps its own signals (32, 33) to itself, and some parents, such as make, ignore them. */
  const unsigned long kernel_default[4] = {0};
  for (int signal = 1; signal <= 64; signal++) syscall(SYS_rt_sigaction, signal, kernel_default, NULL, 8);
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGCHLD, &action, NULL);
  sigaction(SIGALRM, &action, NULL);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  sigdelset(&all, SIGCHLD);
  sigdelset(&all, SIGALRM);
  return all;
}

/* What every rank inherits: an empty bounding set, no ambient capabilities, no_new_privs. */
static int give_up_privileges(void) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) return -errno;
  for (unsigned long capability = 0; capability < 64; capability++) {
    if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) != 1) continue;
    /* Without CAP_SETPCAP there is nothing in the bounding set that exec could give: no_new_privs, and no id but its own. */
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EPERM) return -errno;
  }
  return 0;
}

static int set_up(const struct arguments *arguments, int *ready) {
  struct rlimit open_files;
  if (getrlimit(RLIMIT_NOFILE, &open_files) < 0) return -errno;
  struct rlimit raised = {.rlim_cur = open_files.rlim_max, .rlim_max = open_files.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &raised) < 0) return -errno;
  *ready = arguments->ready ? fcntl(READY_FD, F_DUPFD_CLOEXEC, FD_FIRST_FREE) : -1;
  if (arguments->ready && *ready < 0) return -errno;
  int error = descriptors_reserve();
  if (!error && arguments->undumpable && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) error = -errno;
  if (!error) error = give_up_privileges();
  if (!error) error = slots_open(arguments->slots);
  if (!error) error = control_open(open_files);
  return error;
}

/* From here on the sandbox lives without launch, but only once launch has told somebody of it. */
static bool is_wanted(int ready, int error) {
  struct ready_report report = {.magic = READY_MAGIC, .error = -error, .stage = "rank-init"};
  if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0 && !error) report.error = errno;
  if (send(ready, &report, sizeof report, MSG_NOSIGNAL) < 0 || report.error) return false;
  char go = 0;
  ssize_t got;
  do got = recv(ready, &go, 1, 0);
  while (got < 0 && errno == EINTR);
  close(ready);
  return got == 1 && go == READY_GO;
}

int main(int argc, char **argv) {
  struct arguments arguments;
  if (!parse(argc, argv, &arguments)) return EXIT_SETUP;
  sigset_t waiting = take_signals();
  int ready = -1;
  int error = set_up(&arguments, &ready);
  if (ready >= 0 && !is_wanted(ready, error)) return EXIT_SETUP;
  if (error) return EXIT_SETUP;

  for (;;) {
    struct pollfd watched[2] = {
        {.fd = FD_CONTROL, .events = control_is_blocked() ? POLLOUT : POLLIN},
        {.fd = FD_FAILURE_READ, .events = POLLIN},
    };
    ppoll(watched, 2, NULL, &waiting);
    slots_reap();
    if (control_is_blocked()) control_flush();
    if (!control_is_blocked()) control_read();
    lease_watch();
    slots_publish();
  }
}
