/* What rank-init (pid 1 of a sandbox) and the node agent say to each other.
 *
 * rank-init creates and keeps both ends of everything: an agent takes duplicates with pidfd_getfd(2), so it can be killed
 * at any instruction and another one finds all of it again. The control socket is a queue: what an agent managed to send
 * is carried out, also after that agent died; HELLO is the barrier behind which the state table is true.
 * Little endian, naturally aligned, the same structs are read in native/addon/abi.ts. An agent speaks this version and the
 * one before; a change of layout raises MUSTER_ABI.
 */
#ifndef MUSTER_RANK_INIT_PROTOCOL_H
#define MUSTER_RANK_INIT_PROTOCOL_H

#include <stdint.h>

#define MUSTER_ABI 1u
#define MUSTER_MAGIC 0x5254534du /* "MSTR" */

/* Descriptors at fixed numbers in rank-init; those of ranks stand in the state table. */
enum {
  FD_CONTROL = 10,       /* rank-init's end of the control socket (AF_UNIX, SOCK_SEQPACKET) */
  FD_CONTROL_AGENT = 11, /* the agent's end */
  FD_STATE = 12,         /* memfd: struct state_table, then slots; only rank-init writes */
  FD_EVENT = 13,         /* eventfd, semaphore off: raised whenever the table changed */
  FD_JOURNAL = 14,       /* memfd: notes appended by ANSWER, never rewritten */
  FD_FAILURE_READ = 15,  /* pipe on which a child says why it could not exec */
  FD_FAILURE_WRITE = 16,
  FD_FIRST_FREE = 20,
};

enum slot_state { SLOT_EMPTY = 0, SLOT_RUNNING = 1, SLOT_EXITED = 2, SLOT_NOT_STARTED = 3 };

/* Where a start failed; the errno stands beside it. */
enum start_stage {
  STAGE_NONE = 0,
  STAGE_FORK = 1,
  STAGE_STDIO = 2, /* a pipe, a pty or a file for stdin, stdout, stderr */
  STAGE_RLIMIT = 3,
  STAGE_AFFINITY = 4,
  STAGE_CREDENTIALS = 5,
  STAGE_CHDIR = 6,
  STAGE_EXEC = 7,
  STAGE_BAD_REQUEST = 8,
};

/* 176 bytes a slot. A slot is one process started by START; slots are given out in ascending order and never reused. */
struct slot {
  uint32_t rank;       /* global rank, or START_NO_RANK for a co-process or exec */
  uint32_t start_id;   /* the caller's number for this start: the same (rank, start_id) starts once */
  uint32_t state;      /* enum slot_state */
  int32_t pid;         /* in the sandbox's pid namespace */
  int32_t wait_status; /* as waitpid(2), once SLOT_EXITED */
  uint32_t stage;      /* enum start_stage, once SLOT_NOT_STARTED */
  int32_t error;       /* errno, once SLOT_NOT_STARTED */
  uint32_t flags;      /* of the start entry */
  int32_t fd_stdin;    /* write end of the pipe, or the pty's master; -1 when there is none */
  int32_t fd_stdout;   /* read end or the pty's master; -1 */
  int32_t fd_stderr;   /* read end; -1 (also with a pty) */
  int32_t fd_pmi;      /* the agent's end of the PMI socketpair; -1 */
  int32_t fd_input;    /* the input spool's description handed over with HOLD; -1 */
  uint32_t reserved0;
  uint64_t pmi_orders;   /* ANSWER entries carried out */
  uint64_t pmi_consumed; /* request bytes consumed by them */
  uint64_t started_ns;   /* CLOCK_REALTIME */
  uint64_t ended_ns;
  uint64_t user_us; /* rusage of the process and its waited-for children */
  uint64_t system_us;
  uint64_t max_rss_kib;
  uint64_t major_faults;
  uint64_t voluntary_switches;
  uint64_t involuntary_switches;
  uint64_t read_blocks; /* from and to disks, of 512 bytes */
  uint64_t written_blocks;
  uint64_t reserved[3];
};

struct state_table {
  uint32_t magic;
  uint32_t abi;
  uint32_t slots_max;
  uint32_t slots_used;
  uint64_t changes;        /* raised by 1 with every change, before FD_EVENT is raised */
  uint64_t journal_length; /* bytes of FD_JOURNAL that are whole */
  uint64_t last_signal;    /* the highest signal id carried out: a lower or equal one is refused */
  uint64_t started_ns;     /* rank-init's own start, CLOCK_REALTIME */
  uint32_t running;        /* slots in SLOT_RUNNING */
  uint32_t descendants;    /* 1 while any process but rank-init lives in the sandbox, checked when a child ends */
  uint8_t build[32];       /* build id: the first bytes of the binary's hash, text */
  uint32_t lease_state;    /* enum guard_state (guard.gen.h) */
  uint32_t reserved0;
  uint64_t lease_epoch;      /* of the last renewal */
  uint64_t lease_expires_ns; /* CLOCK_BOOTTIME; 0 while there is no lease */
  uint64_t lease_ends_ns;    /* its hard end */
  uint64_t reserved[4];
  struct slot slots[];
};

/* Control messages. Every message starts with this; descriptors ride as SCM_RIGHTS. */
struct message {
  uint32_t magic;
  uint32_t type;    /* enum message_type; a reply has REPLY set */
  uint64_t session; /* chosen at random by each agent: it drops replies to its predecessor */
  uint64_t id;      /* the caller's */
  int32_t result;   /* in replies: 0 or -errno; in requests 0 */
  uint32_t length;  /* bytes that follow */
};
#define REPLY 0x80000000u

enum message_type {
  MSG_HELLO = 1,     /* u32 abi; reply: u32 abi. The barrier: all earlier messages have been carried out */
  MSG_START = 2,     /* one descriptor: a sealed memfd with a struct start_file. Reply: u32 first slot, u32 count */
  MSG_ANSWER = 3,    /* struct answer entries, back to back, each padded to 8; no reply: see slot.pmi_orders */
  MSG_SIGNAL = 4,    /* struct signal_order; reply: u32 processes reached */
  MSG_CLOSE = 5,     /* u32 slot, u32 which (CLOSE_*); reply */
  MSG_HOLD = 6,      /* u32 slot; one descriptor, kept as slot.fd_input; reply */
  MSG_KILL = 7,      /* SIGKILL to every process in the sandbox but rank-init; reply */
  MSG_EXIT = 8,      /* MSG_KILL, then rank-init exits; no reply */
  MSG_STOP = 9,      /* SIGSTOP to all, where there is no freezer; reply */
  MSG_CONTINUE = 10, /* SIGCONT to all; reply */
  MSG_RENEW = 11,    /* struct renewal; reply, -EKEYEXPIRED past the hard end. An older rank-init answers -ENOSYS */
};
enum { CLOSE_STDIN = 1, CLOSE_STDOUT = 2, CLOSE_STDERR = 4, CLOSE_PMI = 8, CLOSE_INPUT = 16 };

/* Consume `consume` bytes from the slot's PMI socket, append the note to the journal, write the reply: once.
 * Carried out only if order == slot.pmi_orders + 1, so a repeated one does nothing. */
struct answer {
  uint32_t slot;
  uint32_t consume;
  uint64_t order;
  uint32_t reply_length;
  uint32_t note_length; /* reply bytes follow, then note bytes, then zeros up to a multiple of 8 */
};

/* A lease, absolute in CLOCK_BOOTTIME: on expiry rank-init stops all ranks until it is renewed, at the hard end it kills them and
 * starts none any more. Within an epoch (an incarnation of the sandbox) times only grow. */
struct renewal {
  uint64_t epoch;
  uint64_t expires_ns;
  uint64_t ends_ns;
};

struct signal_order {
  uint64_t signal_id; /* 0: not numbered, and only to slots without a rank that are named */
  int32_t signal;
  uint32_t count; /* 0: every running slot. A slot's whole process group (session) is signalled */
  uint32_t slots[];
};

/* The start file: header, shared environment strings, then entries. All offsets in bytes from the start of the file. */
#define START_NO_RANK 0xffffffffu
enum { STDIO_NULL = 0, STDIO_PIPE = 1, STDIO_PTY = 2, STDIO_FILE = 3 };
enum {
  START_PMI = 1, /* make a PMI socketpair; the rank's end is its descriptor 3 */
  START_NO_SHARED_ENV = 2,
};
struct start_file {
  uint32_t magic;
  uint32_t abi;
  uint32_t count;
  uint32_t shared_env_count; /* NUL-terminated strings */
  uint32_t shared_env_offset;
  uint32_t entries_offset; /* struct start_entry, each followed by its arrays; the next one at + entry.length */
  uint64_t length;         /* of the whole file */
};
struct start_rlimit {
  uint32_t resource;
  uint32_t reserved;
  uint64_t soft;
  uint64_t hard;
};
struct start_entry {
  uint32_t length; /* of this entry with all that follows it, a multiple of 8 */
  uint32_t rank;
  uint32_t start_id;
  uint32_t flags;
  uint32_t uid, gid; /* 0xffffffff: keep (no user namespace mapping for others) */
  uint32_t umask;
  uint32_t stdin_kind, stdout_kind, stderr_kind;
  uint32_t groups, rlimits, cpu_bytes, argc, envc;
  uint16_t rows, columns; /* of a pty */
  /* then, in this order: struct start_rlimit[rlimits]; uint32_t groups[]; uint8_t cpu_mask[cpu_bytes];
   * NUL-terminated strings: working directory, search path, stdout file, stderr file (may be empty), argv[], envp[] */
};

#endif
