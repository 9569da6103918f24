/* Carries out ANSWER: the one place where a PMI request is consumed and its reply written, exactly once, by order number.
 *
 * It does not read PMI. A rank that lets its replies pile up beyond the socket's buffer has its PMI socket shut down: a
 * well-behaved client has one request in flight.
 */
#ifndef MUSTER_PMI_H
#define MUSTER_PMI_H

#include <stddef.h>
#include <stdint.h>

/* The buffer of a new PMI socket, so that only a rank that never reads can fill it. */
void pmi_prepare(int fd);

/* Carries out the entries of one message; 0, or -EINVAL at the first one that does not lie within it. */
int pmi_answer(const uint8_t *entries, size_t length);

#endif
