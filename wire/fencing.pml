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
#define COPY 4         /* from the last grant to a copy */
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

byte age, calm;

#define RUNS(n) (ranks[n] && !stopped[n] && !frozen[n])
#define IS_DUE(n) (guard[n] == Guard_Running && lease[n] == 0 || (guard[n] == Guard_Running || guard[n] == Guard_Stopped) && hard[n] == 0)
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

/* --- what the parties do --- */

inline send_beat(n) {
  if :: agent[n] && sent[n] == NONE -> sent[n] = 0 :: else fi
}

inline take_beat(n) {
  if
  :: hub && sent[n] != NONE && granted[n] == 0 ->
    if
    :: n == place && warden != Warden_Clearing && !FAILED -> left = COPY; granted[n] = incarnation
    :: else -> lose_message(n)
    fi;
    if
    :: n == place ->
      Warden_step(warden, Warden_on_Heard, 0);
      if :: here[n] == incarnation && ranks[n] -> hasRun = true :: else fi
    :: else
    fi
  :: else
  fi
}

/* What has run is not told to run again: an agent that has lost it is not to start it. */
inline obey(n) {
  if
  :: hub && agent[n] && here[n] != 0 && (n != place || here[n] != incarnation || warden == Warden_Clearing || FAILED) ->
    if
    :: keeper[n] != Keeper_Over -> Keeper_step(keeper[n], Keeper_on_Superseded, n)
    :: else -> if :: n != place || here[n] != incarnation -> clear(n) :: else fi
    fi
  :: hub && agent[n] && here[n] == 0 && n == place && warden != Warden_Clearing && !FAILED && !hasRun -> here[n] = incarnation
  :: else
  fi
}

/* Whoever is about to let ranks run looks at the time first. */
inline keep_time(n) {
  if
  :: agent[n] && here[n] != 0 && guard[n] != Guard_Unleased && hard[n] == 0 -> Keeper_step(keeper[n], Keeper_on_HardEnd, n)
  :: agent[n] && here[n] != 0 && guard[n] != Guard_Unleased && hard[n] != 0 && lease[n] == 0 -> Keeper_step(keeper[n], Keeper_on_Expired, n)
  :: else
  fi
}

inline take_grant(n) {
  if
  :: agent[n] && granted[n] != 0 ->
    keep_time(n);
    if
    :: here[n] == granted[n] -> age = sent[n]; Keeper_step(keeper[n], Keeper_on_Granted, n); age = 0
    :: else
    fi;
    lose_message(n)
  :: else
  fi
}

/* A frozen rank-init waits with its ranks. */
inline guard_time(n) {
  if
  :: !frozen[n] && IS_DUE(n) ->
    if
    :: hard[n] == 0 -> Guard_step(guard[n], Guard_on_HardEnd, n)
    :: hard[n] != 0 && lease[n] == 0 -> Guard_step(guard[n], Guard_on_Expired, n)
    fi
  :: else
  fi
}

inline decide() {
  if
  :: hub && !FAILED ->
    if
    :: IS_OVER(place) && warden != Warden_Clearing -> Warden_step(warden, Warden_on_Lost, 0)
    :: left == 0 && warden == Warden_Doubting -> Warden_step(warden, Warden_on_Fenced, 0)
    :: left <= COPY - LEASE && warden == Warden_Settled -> Warden_step(warden, Warden_on_Silent, 0)
    :: warden == Warden_Clearing && (IS_OVER(place) || left == 0) -> Warden_step(warden, Warden_on_AllOver, 0)
    :: else
    fi
  :: else
  fi
}

inline count_down(what) {
  if :: what > 0 -> what-- :: else fi
}
/* What has expired on its way grants nothing. */
inline grow_old(n) {
  if
  :: sent[n] + 1 < LEASE -> sent[n]++
  :: else -> lose_message(n)
  fi
}
inline tick() {
  count_down(lease[0]); count_down(lease[1]); count_down(hard[0]); count_down(hard[1]); count_down(left);
  grow_old(0); grow_old(1)
}
#define MAY_TICK ((frozen[0] || !IS_DUE(0)) && (frozen[1] || !IS_DUE(1)))

inline agent_dies(n) { agent[n] = false; keeper[n] = Keeper_FIRST; if :: granted[n] != 0 -> lose_message(n) :: else fi }
inline agent_starts(n) {
  if :: !agent[n] -> agent[n] = true; keeper[n] = Keeper_FIRST :: else fi
}
inline hub_starts() {
  if :: !hub -> hub = true; left = COPY :: else fi
}

/* All is well: everybody is there, every message arrives before the next tick. */
inline calm_round() {
  agent_starts(0); agent_starts(1); hub_starts();
  send_beat(0); send_beat(1); take_beat(0); take_beat(1); take_grant(0); take_grant(1);
  decide(); obey(0); obey(1); decide();
  keep_time(0); keep_time(1); guard_time(0); guard_time(1); guard_time(0); guard_time(1);
  tick()
}

#define WELL (RUNS(place) && here[place] == incarnation && !unplugged[place] && !hold)

active proctype world() {
  do
  :: atomic { calm == 0; send_beat(0) }
  :: atomic { calm == 0; send_beat(1) }
  :: atomic { calm == 0; take_beat(0) }
  :: atomic { calm == 0; take_beat(1) }
  :: atomic { calm == 0; take_grant(0) }
  :: atomic { calm == 0; take_grant(1) }
  :: atomic { calm == 0; obey(0) }
  :: atomic { calm == 0; obey(1) }
  :: atomic { calm == 0; keep_time(0) }
  :: atomic { calm == 0; keep_time(1) }
  :: atomic { calm == 0; guard_time(0) }
  :: atomic { calm == 0; guard_time(1) }
  :: atomic { calm == 0; decide() }
  :: atomic { MAY_TICK; tick() }
  /* losses */
  :: atomic { sent[0] != NONE; lose_message(0) }
  :: atomic { sent[1] != NONE; lose_message(1) }
  /* agents, nodes and the hub end, and start again */
  :: atomic { agent[0]; agent_dies(0) }
  :: atomic { agent[1]; agent_dies(1) }
  :: atomic { calm == 0; agent_starts(0) }
  :: atomic { calm == 0; agent_starts(1) }
  :: atomic { agent[0] || here[0] != 0; agent_dies(0); clear(0); lose_message(0) }
  :: atomic { agent[1] || here[1] != 0; agent_dies(1); clear(1); lose_message(1) }
  :: atomic { hub; hub = false; left = 0 }
  :: atomic { calm == 0; hub_starts() }
#ifdef PROGRESS
  :: atomic {
       !FAILED;
       do
       :: calm < CALM_ROUNDS -> calm_round(); calm++
       :: else -> break
       od;
       assert(FAILED || WELL)
     } break
#endif
  :: RUNS(0) && RUNS(1) -> assert(false)
  od
}
