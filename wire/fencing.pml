/*
 * The world that the fencing tables live in: one group of one sandbox, two nodes, each with rank-init (the guard) and an agent (the
 * keeper), and a hub with the controller (the warden). Everything may be lost, late by any time, crash and start again at any
 * moment. Time passes in ticks; only rank-init is in time for its own timers. What stands in the store (place, incarnation,
 * warden) survives the hub, what is in a sandbox survives the agent, nothing survives its node.
 *
 *   never two    whatever happens, ranks of two incarnations never run at once
 *   progress     from any state, once all is well, ranks run again within `CALM_ROUNDS` ticks, plugged in and held by nobody
 */
#include "fencing.gen.pml"

#define LEASE 2        /* ticks from the sending of a heartbeat to expiry */
#define HARD 3         /* to the hard end */
#ifndef COPY
#define COPY 4         /* from the last grant to a copy */
#endif
#define LAST 3         /* incarnations, then the group has failed */
#define CALM_ROUNDS 12 /* a lease that must run out, and a copy that must start */
#define NONE 7         /* of an age: no message */

/* rank-init and its ranks, by node */
mtype guard[2] = Guard_FIRST;
byte here[2];  /* incarnation of the sandbox on the node; 0: none */
byte lease[2]; /* ticks left */
byte hard[2];
bool ranks[2], stopped[2], frozen[2], unplugged[2];

/* agents */
bool agent[2] = true;
mtype keeper[2] = Keeper_FIRST;

/* A heartbeat on its way to the hub, then what grants it on its way back; `sent` counts its age. The agent sends the next one when this
 * one is lost or answered. What the node is to hold is read when it is acted upon: to hear of it later is to act later. */
byte sent[2] = NONE;
byte granted[2]; /* 0: the hub has not answered; else the incarnation that the answer grants */

/* the hub, and what it keeps in memory */
bool hub = true;
byte left = COPY; /* ticks since the last grant, counted down */

/* the store */
mtype warden = Warden_FIRST;
byte place, incarnation = 1;
bool hasRun, hold;

byte age; /* of the heartbeat that is just answered */

#define RUNS(n) (ranks[n] && !stopped[n] && !frozen[n])
#define PAST_END(n) (guard[n] != Guard_Unleased && hard[n] == 0)
#define IS_OVER(n) (agent[n] && (here[n] == incarnation && keeper[n] == Keeper_Over || here[n] != incarnation && hasRun))
#define FAILED (incarnation > LAST)

/* What cannot matter any more is set back, so that states that differ by it alone are one. */
inline end(n) {
  ranks[n] = false; stopped[n] = false; frozen[n] = false; unplugged[n] = false;
  lease[n] = 0; hard[n] = 0; guard[n] = Guard_Ended
}
inline clear(n) { end(n); here[n] = 0; guard[n] = Guard_FIRST; keeper[n] = Keeper_FIRST }
inline lose_message(n) { sent[n] = NONE; granted[n] = 0 }

inline Guard_do_Stop(self) { stopped[self] = true }
inline Guard_do_Continue(self) { stopped[self] = false }
inline Guard_do_Kill(self) { ranks[self] = false }

inline Keeper_do_Renew(self) {
  if
  :: guard[self] != Guard_Ended ->
    if :: LEASE - age > lease[self] -> lease[self] = LEASE - age :: else fi;
    if :: HARD - age > hard[self] -> hard[self] = HARD - age :: else fi
  :: else
  fi;
  Guard_step(guard[self], Guard_on_Renewed, self)
}
inline Keeper_do_Start(self) { ranks[self] = (ranks[self] || guard[self] == Guard_Running) }
inline Keeper_do_Freeze(self) { frozen[self] = true }
inline Keeper_do_Thaw(self) { frozen[self] = false }
inline Keeper_do_Unplug(self) { unplugged[self] = true }
inline Keeper_do_Plug(self) { unplugged[self] = false }
inline Keeper_do_Kill(self) { end(self) }

inline Warden_do_Hold(self) { hold = true }
inline Warden_do_Release(self) { hold = false }
inline Warden_do_EndAll(self) { skip }
inline Warden_do_StartCopy(self) { incarnation++; place = 1 - place; hasRun = false; left = COPY }

/* --- what the parties do; one of these at a time, of one node --- */

inline send_beat() {
  if :: agent[n] && sent[n] == NONE -> sent[n] = 0 :: else fi
}

inline take_beat() {
  if
  :: hub && sent[n] != NONE && granted[n] == 0 ->
    if
    :: n == place && warden != Warden_Clearing && !FAILED -> left = COPY; granted[n] = incarnation
    :: else -> lose_message(n)
    fi;
    if
    :: n == place ->
      said = Warden_on_Heard;
      if :: here[n] == incarnation && ranks[n] -> hasRun = true :: else fi
    :: else
    fi
  :: else
  fi
}

/* Whoever is about to let ranks run looks at the time first. */
inline take_grant() {
  if
  :: agent[n] && granted[n] != 0 ->
    if
    :: here[n] == granted[n] && PAST_END(n) -> event = Keeper_on_HardEnd
    :: here[n] == granted[n] && !PAST_END(n) -> event = Keeper_on_Granted; age = sent[n]
    :: else
    fi;
    lose_message(n)
  :: else
  fi
}

inline keep_time() {
  if
  :: agent[n] && PAST_END(n) -> event = Keeper_on_HardEnd
  :: agent[n] && guard[n] != Guard_Unleased && hard[n] != 0 && lease[n] == 0 -> event = Keeper_on_Expired
  :: else
  fi
}

/* What has run is not told to run again: an agent that has lost it is not to start it. */
inline obey() {
  if
  :: hub && agent[n] && here[n] != 0 && (n != place || here[n] != incarnation || warden == Warden_Clearing || FAILED) ->
    if
    :: keeper[n] != Keeper_Over -> event = Keeper_on_Superseded
    :: else -> if :: n != place || here[n] != incarnation -> clear(n) :: else fi
    fi
  :: hub && agent[n] && here[n] == 0 && n == place && warden != Warden_Clearing && !FAILED && !hasRun -> here[n] = incarnation
  :: else
  fi
}

/* A frozen rank-init waits with its ranks. */
inline guard_time() {
  if
  :: !frozen[n] && hard[n] == 0 -> Guard_step(guard[n], Guard_on_HardEnd, n)
  :: !frozen[n] && hard[n] != 0 && lease[n] == 0 -> Guard_step(guard[n], Guard_on_Expired, n)
  :: else
  fi
}

inline decide() {
  if
  :: hub && !FAILED ->
    if
    :: IS_OVER(place) && warden != Warden_Clearing -> said = Warden_on_Lost
    :: left == 0 && warden == Warden_Doubting -> said = Warden_on_Fenced
    :: left <= COPY - LEASE && warden == Warden_Settled -> said = Warden_on_Silent
    :: warden == Warden_Clearing && (IS_OVER(place) || left == 0) -> said = Warden_on_AllOver
    :: else
    fi
  :: else
  fi
}

inline count_down(what) {
  if :: what > 0 -> what-- :: else fi
}
/* A tick of the node's clock. rank-init alone is never late; what has expired on its way grants nothing. */
inline pass_time() {
  guard_time();
  count_down(lease[n]); count_down(hard[n]);
  if
  :: sent[n] + 1 < LEASE -> sent[n]++
  :: else -> lose_message(n)
  fi
}

inline agent_dies() { agent[n] = false; keeper[n] = Keeper_FIRST; if :: granted[n] != 0 -> lose_message(n) :: else fi }
inline node_dies() { agent_dies(); clear(n); lose_message(n) }
inline agent_starts() {
  if :: !agent[n] -> agent[n] = true; keeper[n] = Keeper_FIRST :: else fi
}
inline hub_starts() {
  if :: !hub -> hub = true; left = COPY :: else fi
}

#define WELL (RUNS(place) && here[place] == incarnation && !unplugged[place] && !hold)

/* While all is well these are done in this order, for either node, round and round. Time is for both nodes the same. */
#define AGENT_STARTS 0
#define SEND_BEAT 1
#define TAKE_BEAT 2
#define TAKE_GRANT 3
#define DECIDE 4
#define OBEY 5
#define KEEP_TIME 6
#define PASS_TIME 7
#define ACTS 8

inline act() {
  if
  :: what == AGENT_STARTS -> agent_starts()
  :: what == SEND_BEAT -> send_beat()
  :: what == TAKE_BEAT -> take_beat()
  :: what == TAKE_GRANT -> take_grant()
  :: what == DECIDE -> decide()
  :: what == OBEY -> obey()
  :: what == KEEP_TIME -> keep_time()
  :: what == PASS_TIME -> pass_time(); if :: n == 1 -> count_down(left) :: else fi
  fi;
  if :: event != 0 -> Keeper_step(keeper[n], event, n); event = 0; age = 0 :: else fi;
  if :: said != 0 -> Warden_step(warden, said, 0); said = 0 :: else fi
}

active proctype world() {
  byte n, what, rounds;
  mtype event, said;
  do
  :: atomic {
       /* whatever may happen does, in any order; or from here on all is well */
       if
       :: what = AGENT_STARTS :: what = SEND_BEAT :: what = TAKE_BEAT :: what = TAKE_GRANT
       :: what = DECIDE :: what = OBEY :: what = KEEP_TIME
       :: what = PASS_TIME
       :: !FAILED -> what = AGENT_STARTS; rounds = CALM_ROUNDS; hub_starts()
       fi;
       if
       :: rounds == 0 && what != PASS_TIME -> if :: n = 0 :: n = 1 fi
       :: else -> n = 0
       fi;
       do
       :: act();
         if
         :: (rounds > 0 || what == PASS_TIME) && n == 0 -> n = 1
         :: rounds > 0 && n == 1 && what + 1 < ACTS -> n = 0; what++
         :: rounds > 0 && n == 1 && what + 1 == ACTS -> n = 0; what = 0; rounds--; if :: rounds == 0 -> goto well :: else fi
         :: else -> break
         fi
       od;
       n = 0; what = 0
     }
  :: atomic { sent[0] != NONE -> lose_message(0) }
  :: atomic { sent[1] != NONE -> lose_message(1) }
  :: atomic { agent[0] -> agent_dies(); n = 0 }
  :: atomic { agent[1] -> n = 1; agent_dies(); n = 0 }
  :: atomic { agent[0] || here[0] != 0 -> node_dies() }
  :: atomic { agent[1] || here[1] != 0 -> n = 1; node_dies(); n = 0 }
  :: atomic { hub -> hub = false; left = 0 }
  :: atomic { !hub -> hub_starts() }
  :: RUNS(0) && RUNS(1) -> assert(false)
  od;
well:
  assert(FAILED || WELL)
}
