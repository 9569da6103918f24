/* Callbacks around a checkpoint, in the manner of BLCR: for programs that have to let go of something before they are saved (a
 * device, a connection to outside, a lock) and take it again afterwards. Programs that use nothing of the kind need none of this.
 *
 *   static int around(enum muster_checkpoint_event event, void *argument) { ... return 0; }
 *   muster_checkpoint_register(around, NULL);
 *
 * Callbacks are called one after the other, in a thread that the library starts with the first of them: those before a checkpoint
 * the last registered first, those after it the first registered first. All ranks of the job are saved only once all have
 * returned 0 from MUSTER_BEFORE_CHECKPOINT; anything else refuses the checkpoint, and the job runs on. Then exactly one of the
 * other two events follows: the same process goes on, or it has been brought back, on this node or another one.
 *
 * Outside of Muster the functions do nothing and succeed. Link with -lmuster-checkpoint -pthread.
 */
#ifndef MUSTER_CHECKPOINT_H
#define MUSTER_CHECKPOINT_H

#ifdef __cplusplus
extern "C" {
#endif

enum muster_checkpoint_event {
  MUSTER_BEFORE_CHECKPOINT = 1,
  /* It was taken, or given up: nothing has changed. */
  MUSTER_AFTER_CONTINUE = 2,
  /* Time has passed: what is outside of the job's processes may be another. */
  MUSTER_AFTER_RESTART = 3,
};

/* 0, or (before a checkpoint) an errno that refuses it and is told to whoever asked for it. */
typedef int (*muster_checkpoint_callback)(enum muster_checkpoint_event event, void *argument);

/* 0, or an errno: ENOMEM, EAGAIN (no thread), EIO (/dev/shm cannot be written). */
int muster_checkpoint_register(muster_checkpoint_callback callback, void *argument);

/* While it is held, no checkpoint begins: for sections that must not be cut in two. Nests. */
void muster_checkpoint_enter(void);
void muster_checkpoint_leave(void);

/* For programs that save their own state (checkpointPolicy engine Application), at a place of theirs where that is easy:
 *
 *   int wanted = muster_checkpoint_wanted(), by_all;
 *   MPI_Allreduce(&wanted, &by_all, 1, MPI_INT, MPI_MIN, comm);
 *   if (by_all) muster_checkpoint_done(save(getenv("MUSTER_CHECKPOINT_DIR")));
 *
 * A rank that is started from what was saved finds it in the directory MUSTER_RESTART_DIR; without a restart there is no such
 * variable. Each sandbox has directories of its own, and each rank finds what the ranks of its sandbox have written.
 */

/* 1 while a checkpoint is asked for that this rank has not answered. Cheap. */
int muster_checkpoint_wanted(void);

/* The rank has saved what it needs (0), or an errno says why it could not, and the checkpoint is refused. Returns once the job goes
 * on: 0, or ECANCELED when the checkpoint had been called off before; EIO when nothing can be written. */
int muster_checkpoint_done(int error);

#ifdef __cplusplus
}
#endif
#endif
