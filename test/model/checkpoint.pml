/*
 * The world of wire/checkpoint-protocol.ts: one Checkpoint controller and N sandboxes, each with an agent. Orders and facts are
 * levels that may be arbitrarily old (`heard`, `told`): so messages may be late, lost or doubled. Agents, work, clocks and the
 * controller may fail at any step. What must hold stands at the end.
 */
#include "checkpoint.gen.pml"

#ifndef N
#define N 3
#endif
#ifndef HOLD
#define HOLD 0 /* then: Stop */
#endif

mtype member[N];
bool frozen[N];
bool image[N];      /* there is one */
bool torn[N];       /* it does not belong to the cut */
bool killed[N];

mtype cut = Cut_FIRST;
mtype heard[N];     /* the state of the cut that the order a member heard last was made from */
mtype told[N];      /* the state of the member that the controller heard last */
byte crashes;       /* so that the search ends: faults are bounded, not their place */

#ifndef MANY
#define MANY 2
#endif
hidden mtype event;

/* Runs again: what it sends now is not in its image, and may be in one that is still to be taken. */
inline runs(i) {
  if
  :: frozen[i] && image[i] && !(image[0] && image[1] && image[N - 1]) -> torn[i] = true
  :: else
  fi;
  frozen[i] = false
}

/* Its image is of now: it fits only where all others stand still. */
inline dumps(i) {
  image[i] = true;
  torn[i] = !(frozen[0] && frozen[1] && frozen[N - 1])
}

inline Member_do_Freeze(self) { frozen[self] = true }
inline Member_do_Dump(self) { skip }
inline Member_do_Save(self) { skip }
inline Member_do_Thaw(self) { runs(self) }
inline Member_do_Discard(self) { assert(cut != Cut_Ready); image[self] = false; torn[self] = false }

#define isAborted(i) (told[i] == Member_Aborted)
#define some_aborted (isAborted(0) || isAborted(1) || isAborted(N - 1))
#define all_aborted (isAborted(0) && isAborted(1) && isAborted(N - 1))
#define isSaved(s) (s == Member_Saved || s == Member_SavedHeld)
#define isCommitted(s) (isSaved(s) || s == Member_Committed || s == Member_CommittedHeld)
#define isDumped(s) (isCommitted(s) || s == Member_Dumped)
#define isPrepared(s) (isDumped(s) || s == Member_Dumping || s == Member_Prepared)
#define all(p) (p(told[0]) && p(told[1]) && p(told[N - 1]))

#define works(i) (member[i] == Member_Preparing || member[i] == Member_Dumping || member[i] == Member_Committed || member[i] == Member_CommittedHeld)
#define fault crashes < MANY -> crashes++

inline fits(i) { assert(image[i] && !torn[i] && isSaved(member[i])) }
inline check() { fits(0); fits(1); fits(N - 1) }

proctype agent(byte i) {
end:
  do
  :: atomic { heard[i] != cut -> heard[i] = cut }
  :: atomic { told[i] != member[i] -> told[i] = member[i] }
  :: atomic {
       if
       :: !killed[i] && heard[i] == Cut_Preparing && member[i] == Member_Idle -> event = Member_on_ToldPrepare
       :: heard[i] == Cut_Dumping -> event = Member_on_ToldDump
       :: (heard[i] == Cut_Committing || heard[i] == Cut_Saving) && HOLD -> event = Member_on_ToldCommitHeld
       :: (heard[i] == Cut_Committing || heard[i] == Cut_Saving) && !HOLD -> event = Member_on_ToldCommit
       :: heard[i] == Cut_Aborting -> event = Member_on_ToldAbort
       :: !killed[i] && works(i) && member[i] != Member_Dumping -> event = Member_on_Done
       :: !killed[i] && member[i] == Member_Dumping -> event = Member_on_Done; dumps(i)
       :: !killed[i] && works(i) && fault -> event = Member_on_Failed
       :: !killed[i] && member[i] != Member_Idle && member[i] != Member_Aborted && fault -> event = Member_on_Restarted
       :: !killed[i] && !frozen[i] && member[i] != Member_Aborted && fault -> event = Member_on_Ended
       fi;
       Member_step(member[i], event, i)
     }
  /* then: Stop, by a checkpoint that is on record as Ready. */
  :: atomic { HOLD && cut == Cut_Ready && !killed[i] -> check(); killed[i] = true; frozen[i] = false }
  od
}

/* Time: whoever is held is so for a while only. */
proctype timer(byte i) {
end:
  do
  :: atomic { frozen[i] && !killed[i] -> Member_step(member[i], Member_on_TimedOut, i) }
  od
}

active proctype controller() {
end:
  do
  :: atomic {
       if
       :: cut == Cut_Waiting -> event = Cut_on_Begun
       :: cut == Cut_Preparing && all(isPrepared) -> event = Cut_on_AllPrepared
       :: cut == Cut_Dumping && all(isDumped) -> event = Cut_on_AllDumped
       :: cut == Cut_Committing && all(isCommitted) -> event = Cut_on_AllCommitted
       :: cut == Cut_Saving && all(isSaved) -> event = Cut_on_AllSaved
       :: cut != Cut_Aborting && some_aborted -> event = Cut_on_SomeAborted
       :: cut == Cut_Aborting && all_aborted -> event = Cut_on_AllAborted
       :: fault -> event = Cut_on_GivenUp
       fi;
       Cut_step(cut, event, 0);
       if
       :: cut == Cut_Ready -> check()
       :: else
       fi
     }
  :: atomic { fault; told[0] = Member_Idle; told[1] = Member_Idle; told[N - 1] = Member_Idle } /* started anew */
  :: atomic { fault; break } /* gone for ever */
  od
}

init {
  atomic {
    byte i;
    for (i : 0 .. N - 1) {
      member[i] = Member_FIRST; heard[i] = Cut_FIRST; told[i] = Member_FIRST;
      run agent(i); run timer(i)
    }
  }
}

/* No sandbox is left frozen for ever, whatever has happened, and nothing is left of an attempt that failed. */
ltl thaws { [] (frozen[0] -> <> !frozen[0]) }
