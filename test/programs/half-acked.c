/* A connection of which a segment was sent again together with the next one, and acknowledged in half, read as CRIU reads it:
 *
 * usage: half-acked
 *
 * prints how many bytes are not acknowledged, how many are read, and the first that was read. Needs CAP_NET_ADMIN.
 */
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/sockios.h>

enum { BYTES = 96, TRIES = 5000 };

static void need(int holds, const char *what) {
  if (holds) return;
  perror(what);
  exit(1);
}

static void deafen(int socket) {
  struct sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
  struct sock_fprog filter = {.len = 1, .filter = nothing};
  need(setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0, "SO_ATTACH_FILTER");
}

static int unacknowledged(int socket) {
  int bytes;
  need(ioctl(socket, SIOCOUTQ, &bytes) == 0, "SIOCOUTQ");
  return bytes;
}

static int sent_again(int socket) {
  struct tcp_info info;
  socklen_t size = sizeof info;
  need(getsockopt(socket, SOL_TCP, TCP_INFO, &info, &size) == 0, "TCP_INFO");
  return info.tcpi_retransmits;
}

static void send_all(int socket, char letter, size_t bytes) {
  char data[BYTES];
  memset(data, letter, bytes);
  need(send(socket, data, bytes, 0) == (ssize_t)bytes, "send");
}

int main(void) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, none = 0, queue = TCP_SEND_QUEUE;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  need(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
  need(listen(listener, 1) == 0, "listen");
  need(getsockname(listener, (struct sockaddr *)&address, &size) == 0, "getsockname");
  int sender = socket(AF_INET, SOCK_STREAM, 0);
  need(connect(sender, (struct sockaddr *)&address, sizeof address) == 0, "connect");
  int receiver = accept(listener, NULL, NULL);
  need(receiver >= 0, "accept");
  setsockopt(sender, SOL_TCP, TCP_NODELAY, &one, sizeof one);

  deafen(sender); /* hears of no acknowledgement */
  send_all(sender, 'a', BYTES);
  struct pollfd readable = {.fd = receiver, .events = POLLIN};
  need(poll(&readable, 1, TRIES) == 1, "poll");
  deafen(receiver);
  send_all(sender, 'b', BYTES);
  for (int i = 0; i < TRIES && sent_again(sender) == 0; i++) usleep(1000);
  need(setsockopt(sender, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof none) == 0, "SO_DETACH_FILTER");
  send_all(receiver, 'x', 1); /* which acknowledges the first segment */
  for (int i = 0; i < TRIES && unacknowledged(sender) != BYTES; i++) usleep(100);

  need(setsockopt(sender, SOL_TCP, TCP_REPAIR, &one, sizeof one) == 0, "TCP_REPAIR");
  need(setsockopt(sender, SOL_TCP, TCP_REPAIR_QUEUE, &queue, sizeof queue) == 0, "TCP_REPAIR_QUEUE");
  int length = unacknowledged(sender);
  char read[4 * BYTES];
  ssize_t got = recv(sender, read, (size_t)length + 1, MSG_PEEK | MSG_DONTWAIT);
  need(got > 0, "recv");
  printf("%d %zd %c\n", length, got, read[0]);
  return 0;
}
