/* SOCK_SEQPACKET from the front's side: connect, send and receive one packet, with at most one descriptor. Nothing here waits,
 * and nothing the other side says is trusted: a packet that is too long or carries more descriptors breaks the connection. */
#ifndef MUSTER_FRONT_PACKET_H
#define MUSTER_FRONT_PACKET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PACKET_LARGEST = 1 << 20 };

struct packet {
  uint32_t type;
  const uint8_t *body;
  size_t length;
  int fd; /* -1: none; who handles the packet takes or closes it */
};

/* A socket, or -errno. */
int packet_connect(const char *path);
/* 0 or -errno; -EAGAIN: the queue is full. */
int packet_send(int socket, uint32_t type, const void *body, size_t length, int fd);
/* 1 and a packet (valid until the next call), 0: nothing now, -errno: the connection has ended (-EPIPE: by the peer). */
int packet_receive(int socket, struct packet *packet);

uint32_t read_u32(const uint8_t *at);
uint64_t read_u64(const uint8_t *at);

#endif
