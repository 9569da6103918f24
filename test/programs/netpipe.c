/* What a TCP connection gives: the time of a byte there and back, halved, and how much flows one way.
 *
 * usage: netpipe serve PORT | netpipe ask HOST PORT MILLISECONDS
 *
 * The server takes one connection and ends with it. The asker waits until somebody serves, measures each for so long, prints
 * {"latencyUs":N,"mbPerSecond":N} and ends with 0; what fails is told on standard error, exit 1.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { block = 1 << 20 };
static char buffer[block];

static void fail(const char *what) {
  fprintf(stderr, "netpipe: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void give(int fd, const char *bytes, size_t count) {
  while (count > 0) {
    ssize_t done = write(fd, bytes, count);
    if (done < 0) fail("write");
    bytes += done;
    count -= (size_t)done;
  }
}

static void take(int fd, size_t count) {
  while (count > 0) {
    ssize_t done = read(fd, buffer, count < block ? count : block);
    if (done < 0) fail("read");
    if (done == 0) exit(1);
    count -= (size_t)done;
  }
}

static void quick(int fd) {
  int on = 1;
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) fail("setsockopt");
}

/* Sends back single bytes until 'B', then takes blocks until the end, and says that it had them. */
static void serve(const char *port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0) fail("socket");
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0) fail("listen");
  int peer = accept(fd, NULL, NULL);
  if (peer < 0) fail("accept");
  quick(peer);
  do {
    take(peer, 1);
    give(peer, buffer, 1);
  } while (buffer[0] != 'B');
  for (;;) {
    ssize_t done = read(peer, buffer, block);
    if (done < 0) fail("read");
    if (done == 0) break;
  }
  give(peer, "E", 1);
  close(peer);
}

static int dial(const char *host, const char *port) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
  for (double begun = now(); now() - begun < 20; usleep(2000)) {
    if (getaddrinfo(host, port, &hints, &found) != 0) continue;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed = connect(fd, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (failed == 0) return fd;
    close(fd);
  }
  fail("connect");
  return -1;
}

static void ask(const char *host, const char *port, double seconds) {
  int fd = dial(host, port);
  quick(fd);
  long turns = 0;
  double begun = now(), took;
  for (; (took = now() - begun) < seconds; turns++) {
    give(fd, "a", 1);
    take(fd, 1);
  }
  double latency = took / (double)turns / 2;
  give(fd, "B", 1);
  take(fd, 1);
  long blocks = 0;
  for (begun = now(); now() - begun < seconds; blocks++) give(fd, buffer, block);
  if (shutdown(fd, SHUT_WR) < 0) fail("shutdown");
  take(fd, 1);
  took = now() - begun;
  printf("{\"latencyUs\":%.3f,\"mbPerSecond\":%.1f}\n", latency * 1e6, (double)blocks * block / 1e6 / took);
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "serve") == 0) serve(argv[2]);
  else if (argc == 5 && strcmp(argv[1], "ask") == 0) ask(argv[2], argv[3], atof(argv[4]) / 1000);
  else {
    fprintf(stderr, "usage: netpipe serve PORT | netpipe ask HOST PORT MILLISECONDS\n");
    return 2;
  }
  return 0;
}
