/* Generated from wire/fencing.ts by `make generate`; do not edit. */
#ifndef MUSTER_GUARD_TABLE_H
#define MUSTER_GUARD_TABLE_H

/* clang-format off */
enum guard_state { GUARD_UNLEASED, GUARD_RUNNING, GUARD_STOPPED, GUARD_ENDED };
enum guard_event { GUARD_ON_RENEWED, GUARD_ON_EXPIRED, GUARD_ON_HARD_END };
enum guard_action { GUARD_DO_NONE, GUARD_DO_STOP, GUARD_DO_KILL, GUARD_DO_CONTINUE };

static const struct guard_row {
  enum guard_state state;
  enum guard_event event;
  enum guard_state next;
  enum guard_action action;
} guard_rows[] = {
    {GUARD_UNLEASED, GUARD_ON_RENEWED, GUARD_RUNNING, GUARD_DO_NONE},
    {GUARD_RUNNING, GUARD_ON_RENEWED, GUARD_RUNNING, GUARD_DO_NONE},
    {GUARD_RUNNING, GUARD_ON_EXPIRED, GUARD_STOPPED, GUARD_DO_STOP},
    {GUARD_RUNNING, GUARD_ON_HARD_END, GUARD_ENDED, GUARD_DO_KILL},
    {GUARD_STOPPED, GUARD_ON_RENEWED, GUARD_RUNNING, GUARD_DO_CONTINUE},
    {GUARD_STOPPED, GUARD_ON_HARD_END, GUARD_ENDED, GUARD_DO_KILL},
};
/* clang-format on */

#endif
