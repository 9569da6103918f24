/* Generated from the tables of the same name by `make generate`; do not edit. */

/* Guard: begins Unleased. Actions: Stop, Kill, Continue. */
#define Guard_FIRST Guard_Unleased
mtype = { Guard_Unleased, Guard_Running, Guard_Stopped, Guard_Ended };
mtype = { Guard_on_Renewed, Guard_on_Expired, Guard_on_HardEnd, Guard_on_Restored };
inline Guard_step(state_, event_, self) {
  if
  :: state_ == Guard_Unleased && event_ == Guard_on_Renewed -> state_ = Guard_Running
  :: state_ == Guard_Running && event_ == Guard_on_Renewed -> state_ = Guard_Running
  :: state_ == Guard_Running && event_ == Guard_on_Expired -> state_ = Guard_Stopped; Guard_do_Stop(self)
  :: state_ == Guard_Running && event_ == Guard_on_HardEnd -> state_ = Guard_Ended; Guard_do_Kill(self)
  :: state_ == Guard_Running && event_ == Guard_on_Restored -> state_ = Guard_Unleased
  :: state_ == Guard_Stopped && event_ == Guard_on_Renewed -> state_ = Guard_Running; Guard_do_Continue(self)
  :: state_ == Guard_Stopped && event_ == Guard_on_HardEnd -> state_ = Guard_Ended; Guard_do_Kill(self)
  :: state_ == Guard_Stopped && event_ == Guard_on_Restored -> state_ = Guard_Unleased; Guard_do_Continue(self)
  :: else -> skip
  fi
}

/* Keeper: begins Unsure. Actions: Renew, Plug, Thaw, Start, Freeze, Unplug, Kill. */
#define Keeper_FIRST Keeper_Unsure
mtype = { Keeper_Unsure, Keeper_Holding, Keeper_Fenced, Keeper_Over };
mtype = { Keeper_on_Granted, Keeper_on_Expired, Keeper_on_HardEnd, Keeper_on_Superseded };
inline Keeper_step(state_, event_, self) {
  if
  :: state_ == Keeper_Unsure && event_ == Keeper_on_Granted -> state_ = Keeper_Holding; Keeper_do_Renew(self); Keeper_do_Plug(self); Keeper_do_Thaw(self); Keeper_do_Start(self)
  :: state_ == Keeper_Unsure && event_ == Keeper_on_Expired -> state_ = Keeper_Fenced; Keeper_do_Freeze(self); Keeper_do_Unplug(self)
  :: state_ == Keeper_Unsure && event_ == Keeper_on_HardEnd -> state_ = Keeper_Over; Keeper_do_Kill(self)
  :: state_ == Keeper_Unsure && event_ == Keeper_on_Superseded -> state_ = Keeper_Over; Keeper_do_Kill(self)
  :: state_ == Keeper_Holding && event_ == Keeper_on_Granted -> state_ = Keeper_Holding; Keeper_do_Renew(self)
  :: state_ == Keeper_Holding && event_ == Keeper_on_Expired -> state_ = Keeper_Fenced; Keeper_do_Freeze(self); Keeper_do_Unplug(self)
  :: state_ == Keeper_Holding && event_ == Keeper_on_HardEnd -> state_ = Keeper_Over; Keeper_do_Kill(self)
  :: state_ == Keeper_Holding && event_ == Keeper_on_Superseded -> state_ = Keeper_Over; Keeper_do_Kill(self)
  :: state_ == Keeper_Fenced && event_ == Keeper_on_Granted -> state_ = Keeper_Holding; Keeper_do_Renew(self); Keeper_do_Plug(self); Keeper_do_Thaw(self)
  :: state_ == Keeper_Fenced && event_ == Keeper_on_HardEnd -> state_ = Keeper_Over; Keeper_do_Kill(self)
  :: state_ == Keeper_Fenced && event_ == Keeper_on_Superseded -> state_ = Keeper_Over; Keeper_do_Kill(self)
  :: else -> skip
  fi
}

/* Warden: begins Settled. Actions: Hold, EndAll, Release, StartCopy. */
#define Warden_FIRST Warden_Settled
mtype = { Warden_Settled, Warden_Doubting, Warden_Clearing };
mtype = { Warden_on_Silent, Warden_on_Heard, Warden_on_Fenced, Warden_on_Lost, Warden_on_AllOver };
inline Warden_step(state_, event_, self) {
  if
  :: state_ == Warden_Settled && event_ == Warden_on_Silent -> state_ = Warden_Doubting; Warden_do_Hold(self)
  :: state_ == Warden_Settled && event_ == Warden_on_Lost -> state_ = Warden_Clearing; Warden_do_EndAll(self)
  :: state_ == Warden_Doubting && event_ == Warden_on_Heard -> state_ = Warden_Settled; Warden_do_Release(self)
  :: state_ == Warden_Doubting && event_ == Warden_on_Fenced -> state_ = Warden_Clearing; Warden_do_Release(self); Warden_do_EndAll(self)
  :: state_ == Warden_Doubting && event_ == Warden_on_Lost -> state_ = Warden_Clearing; Warden_do_Release(self); Warden_do_EndAll(self)
  :: state_ == Warden_Clearing && event_ == Warden_on_AllOver -> state_ = Warden_Settled; Warden_do_StartCopy(self)
  :: else -> skip
  fi
}
