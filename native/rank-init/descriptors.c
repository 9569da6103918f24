/* See descriptors.h. */
#include "descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "protocol.h"

int descriptors_reserve(void) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
  if (null < 0) return -errno;
  for (int fd = 0; fd <= 2; fd++)
    if (null != fd && dup2(null, fd) < 0) return -errno;
  for (int fd = 3; fd < FD_FIRST_FREE; fd++)
    if (null != fd && dup3(null, fd, O_CLOEXEC) < 0) return -errno;
  if (null >= FD_FIRST_FREE) close(null);
  return 0;
}

int descriptor_move(int from, int to) {
  if (dup3(from, to, O_CLOEXEC) < 0) return -errno;
  close(from);
  return 0;
}
