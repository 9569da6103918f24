/*
 * The world of wire/migration-protocol.ts: one sandbox that moves, the agents of both nodes, and two controllers, of which one leads;
 * one that led may be late with what it was about to write. The group's record (who has the sandbox, and whether the migration has its
 * claim) changes by compare-and-set only, by its version; so does the Migration's own, by its value, which never comes back. What the
 * leader tells agents are levels that they may hear at any time, or not for a long one. With PostCopy the write that commits says that
 * pages are with who leaves, whose node may be lost then. What must hold stands at the end.
 */
#include "migration.gen.pml"

#ifndef MANY
#define MANY 3
#endif
#define NOBODY 2

mtype leaver = Leaver_FIRST;
mtype comer = Comer_FIRST;
bool leaver_runs = true;
bool leaver_dead;
bool comer_is_there; /* restored, and stands still unless it runs */
bool comer_runs;
bool comer_dead; /* after it was let run */
bool image;
bool postcopy; /* its pages follow once it runs */

/* The store. */
mtype migration = Move_FIRST;
bool claim;
bit owner; /* 0: where it leaves, 1: where it comes to */
bool pages; /* are where it leaves, and needed */
byte version;

/* What the leader's hub tells, none of it known to the next one. */
byte term; /* who leads by turns, each term anew */
mtype wish;      /* of the Migration, while it is at work */
bool place;      /* the one who comes may begin */
bool settled;    /* by the record nobody moves */
bool complete;   /* every migration was looked at: what is not named may go */
byte book = NOBODY; /* who has it, by the record */
bool holding; /* the record says that its pages are where it leaves */
mtype told_leaver = Leaver_FIRST, told_comer = Comer_FIRST;

byte faults;
#define fault faults < MANY -> faults++

inline safe() { assert(!(leaver_runs && comer_runs)) }

inline Leaver_do_Look(self) { skip }
inline Leaver_do_Freeze(self) { leaver_runs = false }
inline Leaver_do_Dump(self) { skip }
inline Leaver_do_Discard(self) { image = false }
inline Leaver_do_Thaw(self) { leaver_runs = !leaver_dead; safe() }
#define pages_needed (postcopy && comer_is_there && comer != Comer_Running && comer != Comer_Lost && !comer_dead && migration != Move_Failed)
inline Leaver_do_Kill(self) { assert(owner == 1 && !pages_needed); leaver_runs = false; leaver_dead = true }
inline Comer_do_Look(self) { skip }
inline Comer_do_Restore(self) { skip }
inline Comer_do_Discard(self) { comer_is_there = comer_is_there && (comer == Comer_Running || comer == Comer_Lost) }
inline Comer_do_Plug(self) { skip }
inline Comer_do_Thaw(self) { assert(owner == 1); comer_runs = true; safe() }
inline Comer_do_Kill(self) {
  assert(owner == 0 || comer == Comer_Lost && !pages);
  comer_dead = owner == 1; comer_is_there = false; comer_runs = false
}
inline Move_do_Claim(self) { skip }
inline Move_do_Commit(self) { skip }
inline Move_do_Release(self) { skip }
inline Move_do_Settle(self) { skip }

/* What has no row in a state is not told in it, so that whoever can go on does. */
#define under_way (leaver == Leaver_Preparing || leaver == Leaver_Prepared || leaver == Leaver_Leaving || leaver == Leaver_Left)

hidden mtype event;

active proctype leaver_agent() {
end:
  do
  :: atomic { told_leaver != leaver -> told_leaver = leaver }
  :: atomic {
       if
       :: book == 1 && !holding && leaver != Leaver_Gone -> event = Leaver_on_ToldGone
       :: book == 0 && wish == Move_Preparing && leaver == Leaver_Here && !leaver_dead -> event = Leaver_on_ToldPrepare
       :: book == 0 && wish == Move_Copying && (leaver == Leaver_Here || leaver == Leaver_Prepared) -> event = Leaver_on_ToldLeave
       :: book == 0 && wish == Move_Pending && settled && under_way -> event = Leaver_on_ToldStay
       :: leaver == Leaver_Preparing -> event = Leaver_on_Done
       :: leaver == Leaver_Leaving -> event = Leaver_on_Done; image = true
       :: (leaver == Leaver_Preparing || leaver == Leaver_Leaving) && fault -> event = Leaver_on_Failed
       :: fault -> event = Leaver_on_Restarted
       :: leaver_runs && fault -> event = Leaver_on_Ended; leaver_runs = false; leaver_dead = true
       :: postcopy && leaver == Leaver_Left && !leaver_dead && fault -> event = Leaver_on_Ended; leaver_dead = true /* its node is lost */
       fi;
       Leaver_step(leaver, event, 0)
     }
  od
}

active proctype comer_agent() {
end:
  do
  :: atomic { told_comer != comer -> told_comer = comer }
  :: atomic {
       if
       :: book == 0 && wish == Move_Pending && complete && comer != Comer_Gone -> event = Comer_on_ToldGone
       :: book == 0 && wish != Move_Pending && !place && comer == Comer_Absent -> event = Comer_on_ToldPrepare
       :: book == 0 && wish == Move_Copying && place && (comer == Comer_Absent || comer == Comer_Prepared) -> event = Comer_on_ToldPlace
       :: book == 1 && settled && comer == Comer_Placed && !postcopy -> event = Comer_on_ToldRun
       :: book == 1 && holding && comer == Comer_Placed -> event = Comer_on_ToldFollow
       :: book == 1 && settled && comer == Comer_Following -> event = Comer_on_ToldRun
       :: comer == Comer_Following && !leaver_dead -> event = Comer_on_Done
       :: comer == Comer_Preparing -> event = Comer_on_Done
       :: comer == Comer_Placing && image -> event = Comer_on_Done; comer_is_there = true
       :: comer == Comer_Placing && !image && (leaver == Leaver_Stayed || leaver == Leaver_Gone || leaver_dead) -> event = Comer_on_Failed
       :: (comer == Comer_Preparing || comer == Comer_Placing) && fault -> event = Comer_on_Failed
       :: (comer == Comer_Preparing || comer == Comer_Placing) && fault -> event = Comer_on_Restarted
       :: comer == Comer_Placed && fault -> event = Comer_on_Ended; comer_is_there = false
       fi;
       Comer_step(comer, event, 0)
     }
  :: atomic { comer_runs && fault -> comer_runs = false; comer_dead = true }
  od
}

#define reached_prepared(s) (s == Leaver_Prepared || s == Leaver_Leaving || s == Leaver_Left)
#define comer_prepared(s) (s == Comer_Prepared || s == Comer_Placing || s == Comer_Placed || s == Comer_Running)
#define is_lost(l, c) (c == Comer_Gone || c == Comer_Refused || c == Comer_Lost || (c == Comer_Following && l == Leaver_Gone))
#define given_up(l, c) (l == Leaver_Stayed || l == Leaver_Gone || c == Comer_Refused || c == Comer_Gone)

/* The Migration controller: looks at the store and at what agents have told, then acts on what it saw, maybe much later. */
proctype mover(byte me) {
  mtype seen, next, l, c, happened;
  bool seen_claim, conflict; /* of a write with another: all is looked at anew */
  byte own, seen_owner, seen_version;
end:
  do
  :: atomic {
         term % 2 == me && book != NOBODY -> /* agents were told of groups first */
         own = term; seen = migration; seen_claim = claim; seen_owner = owner; seen_version = version;
         l = (leaver_dead -> Leaver_Gone : told_leaver); c = (comer_dead -> Comer_Gone : told_comer);
         next = seen
       };
       atomic {
         if
         :: (seen == Move_Preparing || seen == Move_Copying || seen == Move_Pending) && seen_owner == 0 && fault ->
              happened = Move_on_GivenUp
         :: true ->
              if
              :: seen_owner == 1 && seen != Move_Pending && seen != Move_Switching && seen != Move_Following -> happened = Move_on_Committed
              :: seen == Move_Pending && !leaver_dead -> happened = Move_on_Begun
              :: seen == Move_Preparing && seen_owner == 0 && seen_claim && given_up(l, c) -> happened = Move_on_SomeFailed
              :: seen == Move_Preparing && seen_owner == 0 && seen_claim && reached_prepared(l) && comer_prepared(c) -> happened = Move_on_AllPrepared
              :: seen == Move_Copying && seen_owner == 0 && given_up(l, c) -> happened = Move_on_SomeFailed
              :: seen == Move_Copying && seen_owner == 0 && seen_claim && l == Leaver_Left && c == Comer_Placed -> happened = Move_on_AllPlaced
              :: seen == Move_Copying && seen_owner == 0 && !seen_claim -> happened = Move_on_GivenUp
              :: (seen == Move_Switching || seen == Move_Following) && c == Comer_Running -> happened = Move_on_AllRun
              :: (seen == Move_Switching || seen == Move_Following) && is_lost(l, c) -> happened = Move_on_SomeLost
              :: seen == Move_Switching && c == Comer_Following && l != Leaver_Gone -> happened = Move_on_AllFollow
              :: seen == Move_Aborting && seen_owner == 0 && !seen_claim && (l == Leaver_Here || l == Leaver_Stayed || l == Leaver_Gone) -> happened = Move_on_AllStayed
              :: else -> happened = Move_on_NothingToDo
              fi
         fi;
         if
         :: happened == Move_on_NothingToDo
         :: else -> Move_step(next, happened, 0)
         fi
       }
       /* One write: the sandbox is elsewhere, and the claim has ended, or its pages are where it was. */
       atomic {
         if
         :: happened == Move_on_AllPlaced && version == seen_version -> owner = 1; claim = postcopy; pages = postcopy; version++
         :: happened == Move_on_AllPlaced && version != seen_version -> conflict = true
         :: else
         fi
       }
       atomic {
         if
         :: next != seen && migration == seen -> migration = next
         :: next != seen && migration != seen -> conflict = true; seen_claim = false
         :: else
         fi
       }
       atomic {
         if
         :: seen == Move_Preparing && next == Move_Preparing && !seen_claim && seen_owner == 0 && version == seen_version -> claim = true; version++
         :: next == Move_Aborting && seen_claim && version == seen_version -> claim = false; version++
         :: next == Move_Aborting && seen_claim && version != seen_version -> conflict = true
         :: (next == Move_Completed || next == Move_Failed) && seen_claim && seen_owner == 1 && version == seen_version ->
              claim = false; pages = false; version++
         :: else
         fi
       }
       atomic {
         if
         :: conflict
         :: !conflict && own == term && book == 0 && seen_claim && seen_owner == 0 && (next == Move_Preparing || next == Move_Copying) ->
              wish = next; place = (next == Move_Copying)
         :: !conflict && own == term && !seen_claim && seen_owner == 0 && (next == Move_Aborting || next == Move_Failed) ->
              wish = Move_Pending; place = false
         :: !conflict && own == term && book == 0 && seen_owner == 1 -> wish = Move_Switching /* kept until the record is told */
         :: else
         fi;
         if
         :: !conflict && own == term -> complete = true
         :: else
         fi;
         seen = 0; next = 0; l = 0; c = 0; happened = 0; seen_claim = false; seen_owner = 0; seen_version = 0; own = 0; conflict = false
       }
  od
}

/* The ProcessGroup controller of whoever leads: tells what the record says. */
active proctype keeper() {
end:
  do
  :: atomic {
       book != owner || settled == claim || holding != pages ->
       if
       :: book != owner -> book = owner; wish = Move_Pending; place = false
       :: else
       fi;
       settled = !claim; holding = pages
     }
  od
}

active proctype leadership() {
end:
  do
  :: atomic {
       fault -> term++; wish = Move_Pending; place = false; settled = false; holding = false; complete = false; book = NOBODY;
       told_leaver = Leaver_FIRST; told_comer = Comer_FIRST
     }
  od
}

init {
  atomic {
    wish = Move_Pending;
#ifdef POSTCOPY
    postcopy = POSTCOPY;
#else
    if
    :: postcopy = false
    :: postcopy = true
    fi;
#endif
    run mover(0); run mover(1);
  }
}

#define stands_still (!leaver_runs && !comer_runs && !leaver_dead && !comer_dead)
#define runs_or_ended (leaver_runs || comer_runs || leaver_dead || comer_dead)
ltl goes_on { [] (stands_still -> <> runs_or_ended) }
ltl has_all { [] (comer == Comer_Following -> <> (comer != Comer_Following || comer_dead)) }
