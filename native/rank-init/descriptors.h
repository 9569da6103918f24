/* Descriptor numbers of rank-init: those below FD_FIRST_FREE are all taken at start, so every new one is at or above it
 * and can never be mistaken for one of a child's 0 to 3. All are close-on-exec.
 */
#ifndef MUSTER_DESCRIPTORS_H
#define MUSTER_DESCRIPTORS_H

/* 0, 1, 2 become /dev/null, the others up to FD_FIRST_FREE are held; 0 or -errno. */
int descriptors_reserve(void);

/* Moves a descriptor to a reserved number; 0 or -errno. */
int descriptor_move(int from, int to);

#endif
