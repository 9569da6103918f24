/* See pmi.h. Note first, then reply, then consume, then count: an agent that comes later trusts `pmi_orders` and finds the
 * note of every order counted there.
 */
#include "pmi.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "slots.h"

enum { BUFFER_BYTES = 1 << 20 };

void pmi_prepare(int fd) {
  int bytes = BUFFER_BYTES;
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0)
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

static bool append_note(const uint8_t *note, uint32_t length) {
  struct state_table *table = slots_table();
  uint32_t done = 0;
  while (done < length) {
    ssize_t written = pwrite(FD_JOURNAL, note + done, length - done, (off_t)(table->journal_length + done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    done += (uint32_t)written;
  }
  __atomic_store_n(&table->journal_length, table->journal_length + length, __ATOMIC_RELEASE);
  return true;
}

static void write_reply(int fd, const uint8_t *reply, uint32_t length) {
  uint32_t done = 0;
  while (done < length) {
    ssize_t sent = send(fd, reply + done, length - done, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS)) shutdown(fd, SHUT_RDWR);
    if (sent < 0) return;
    done += (uint32_t)sent;
  }
}

static void consume(int fd, uint32_t length) {
  uint8_t bytes[4096];
  while (length > 0) {
    ssize_t got = recv(fd, bytes, length < sizeof bytes ? length : sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    length -= (uint32_t)got;
  }
}

static void carry_out(const struct answer *answer) {
  struct slot *slot = slot_at(answer->slot);
  if (!slot || answer->order != slot->pmi_orders + 1) return;
  const uint8_t *reply = (const uint8_t *)(answer + 1);
  if (!append_note(reply + answer->reply_length, answer->note_length)) return;
  if (slot->fd_pmi >= 0) {
    write_reply(slot->fd_pmi, reply, answer->reply_length);
    consume(slot->fd_pmi, answer->consume);
  }
  slot->pmi_consumed += answer->consume;
  __atomic_store_n(&slot->pmi_orders, answer->order, __ATOMIC_RELEASE);
  slots_touch();
}

int pmi_answer(const uint8_t *entries, size_t length) {
  size_t at = 0;
  while (at < length) {
    if (length - at < sizeof(struct answer)) return -EINVAL;
    const struct answer *answer = (const void *)(entries + at);
    uint64_t whole = sizeof *answer + (uint64_t)answer->reply_length + answer->note_length;
    whole = (whole + 7) & ~(uint64_t)7;
    if (whole > length - at) return -EINVAL;
    carry_out(answer);
    at += (size_t)whole;
  }
  return 0;
}
