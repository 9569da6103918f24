/* See stdio.h. */
#include "stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

/* It belongs to the rank's user, who may open it again as /dev/stderr. */
static int make_pipe(const struct start_entry *entry, int *child, int32_t *kept, bool child_reads) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
  if (entry->uid != UINT32_MAX && fchown(ends[0], entry->uid, UINT32_MAX) < 0 && errno != EINVAL) {
    int error = errno;
    close(ends[0]);
    close(ends[1]);
    return -error;
  }
  *child = ends[child_reads ? 0 : 1];
  *kept = ends[child_reads ? 1 : 0];
  return 0;
}

static int make_terminal(const struct start_entry *entry, int *master, int *slave) {
  *master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (*master < 0) return -errno;
  int unlocked = 0;
  struct winsize size = {.ws_row = entry->rows, .ws_col = entry->columns};
  *slave = -1;
  if (ioctl(*master, TIOCSPTLCK, &unlocked) == 0) *slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (*slave >= 0 && ioctl(*master, TIOCSWINSZ, &size) == 0 &&
      (entry->uid == UINT32_MAX || fchown(*slave, entry->uid, UINT32_MAX) == 0 || errno == EINVAL))
    return 0;
  int error = errno;
  if (*slave >= 0) close(*slave);
  close(*master);
  return -error;
}

int stdio_make(const struct start_entry *entry, struct stdio *stdio, struct slot *slot) {
  *stdio = (struct stdio){.child = {-1, -1, -1, -1}, .terminal = -1};
  const uint32_t kinds[3] = {entry->stdin_kind, entry->stdout_kind, entry->stderr_kind};
  int32_t *const kept[3] = {&slot->fd_stdin, &slot->fd_stdout, &slot->fd_stderr};
  int error = 0;
  if (kinds[0] == STDIO_PTY || kinds[1] == STDIO_PTY) {
    int master;
    error = make_terminal(entry, &master, &stdio->terminal);
    if (error) return error;
    for (int i = 0; i < 3; i++) {
      if (kinds[i] != STDIO_PTY) continue;
      stdio->child[i] = stdio->terminal;
      if (i < 2) *kept[i] = master;
    }
  }
  for (int i = 0; i < 3 && !error; i++)
    if (kinds[i] == STDIO_PIPE) error = make_pipe(entry, &stdio->child[i], kept[i], i == 0);
  if (!error && (entry->flags & START_PMI)) {
    int ends[2];
    error = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 ? -errno : 0;
    if (!error) {
      slot->fd_pmi = ends[0];
      stdio->child[3] = ends[1];
    }
  }
  if (error) {
    stdio_close_child(stdio);
    stdio_close_kept(slot, CLOSE_STDIN | CLOSE_STDOUT | CLOSE_STDERR | CLOSE_PMI);
  }
  return error;
}

void stdio_close_child(struct stdio *stdio) {
  for (int i = 0; i < 4; i++)
    if (stdio->child[i] >= 0 && stdio->child[i] != stdio->terminal) close(stdio->child[i]);
  if (stdio->terminal >= 0) close(stdio->terminal);
}

void stdio_close_kept(struct slot *slot, uint32_t which) {
  int32_t closing[5] = {-1, -1, -1, -1, -1};
  int32_t *const kept[5] = {&slot->fd_stdin, &slot->fd_stdout, &slot->fd_stderr, &slot->fd_pmi, &slot->fd_input};
  for (int i = 0; i < 5; i++) {
    if (!(which & 1u << i)) continue;
    closing[i] = *kept[i];
    *kept[i] = -1;
  }
  if (closing[0] >= 0 && closing[0] == closing[1]) closing[1] = -1;
  if (closing[0] == slot->fd_stdout) closing[0] = -1;
  if (closing[1] == slot->fd_stdin) closing[1] = -1;
  for (int i = 0; i < 5; i++)
    if (closing[i] >= 0) close(closing[i]);
}
