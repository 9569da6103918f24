/* See packet.h. */
#include "packet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static uint8_t space[PACKET_LARGEST];

uint32_t read_u32(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

uint64_t read_u64(const uint8_t *at) {
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

/* A path that is too long for an address is reached through a descriptor of its directory. */
static int address_of(const char *path, struct sockaddr_un *address, int *directory) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  *directory = -1;
  size_t length = strlen(path);
  if (length < sizeof address->sun_path) {
    memcpy(address->sun_path, path, length + 1);
    return 0;
  }
  const char *slash = strrchr(path, '/');
  char parent[4096];
  if (!slash || (size_t)(slash - path) >= sizeof parent) return -ENAMETOOLONG;
  memcpy(parent, path, (size_t)(slash - path));
  parent[slash - path] = 0;
  *directory = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (*directory < 0) return -errno;
  int written = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d%s", *directory, slash);
  return written < (int)sizeof address->sun_path ? 0 : -ENAMETOOLONG;
}

int packet_connect(const char *path) {
  struct sockaddr_un address;
  int directory;
  int result = address_of(path, &address, &directory);
  if (result == 0) {
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    result = fd < 0 ? -errno : fd;
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
      result = -errno;
      close(fd);
    }
  }
  if (directory >= 0) close(directory);
  return result;
}

int packet_send(int socket, uint32_t type, const void *body, size_t length, int fd) {
  struct iovec parts[2] = {{&type, sizeof type}, {(void *)(uintptr_t)body, length}};
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = length > 0 ? 2 : 1};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  if (fd >= 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = &control;
    message.msg_controllen = sizeof control.bytes;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  for (;;) {
    if (sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return 0;
    if (errno != EINTR) return -errno;
  }
}

int packet_receive(int socket, struct packet *packet) {
  struct iovec part = {space, sizeof space};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.bytes};
  ssize_t length;
  do length = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (length < 0 && errno == EINTR);
  if (length < 0) return errno == EAGAIN ? 0 : -errno;
  packet->fd = -1;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(int)))
    memcpy(&packet->fd, CMSG_DATA(header), sizeof packet->fd);
  int broken = length == 0 ? -EPIPE : message.msg_flags & MSG_CTRUNC ? -EMFILE : 0;
  if (message.msg_flags & MSG_TRUNC || (length > 0 && length < (ssize_t)sizeof(uint32_t))) broken = -EPROTO;
  if (broken) {
    if (packet->fd >= 0) close(packet->fd);
    return broken;
  }
  packet->type = read_u32(space);
  packet->body = space + sizeof(uint32_t);
  packet->length = (size_t)length - sizeof(uint32_t);
  return 1;
}
