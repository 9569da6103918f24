/* Whoever is on the wire: looks at every frame of a link, in both directions, and counts those that hold a text.
 *
 * usage: eavesdrop LINK TEXT
 *
 * Prints "listens", then at the end of its standard input {"frames":N,"withText":N}, and ends with 0; what fails is told on standard
 * error, exit 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail(const char *what) {
  fprintf(stderr, "eavesdrop: %s: %s\n", what, strerror(errno));
  exit(1);
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: eavesdrop LINK TEXT\n");
    return 1;
  }
  const int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  if (fd < 0) fail("socket");
  const int room = 64 << 20;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0) fail("SO_RCVBUFFORCE");
  struct sockaddr_ll link = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
  link.sll_ifindex = (int)if_nametoindex(argv[1]);
  if (link.sll_ifindex == 0) fail(argv[1]);
  if (bind(fd, (const struct sockaddr *)&link, sizeof link) < 0) fail("bind");
  printf("listens\n");
  fflush(stdout);
  static char frame[1 << 17];
  unsigned long frames = 0, with_text = 0;
  struct pollfd wanted[] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
  for (;;) {
    if (poll(wanted, 2, -1) < 0) fail("poll");
    if (wanted[0].revents & POLLIN) {
      const ssize_t length = recv(fd, frame, sizeof frame, 0);
      if (length < 0) fail("recv");
      frames++;
      if (memmem(frame, (size_t)length, argv[2], strlen(argv[2]))) with_text++;
    } else if (wanted[1].revents) {
      char rest[256];
      if (read(0, rest, sizeof rest) <= 0) break;
    }
  }
  printf("{\"frames\":%lu,\"withText\":%lu}\n", frames, with_text);
  return 0;
}
