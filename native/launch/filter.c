/* See filter.h. A refused call fails with EPERM; clone3, whose flags a filter cannot see, with ENOSYS, so that libraries use clone. */
#include "filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OWN_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the numbers of system calls are not known here"
#endif
/* x32 has the same architecture, and this bit. */
enum { OTHER_NUMBERS = 0x40000000 };

static const unsigned refused[] = {
    SYS_acct,
    SYS_add_key,
    SYS_bpf,
    SYS_clock_adjtime,
    SYS_clock_settime,
    SYS_delete_module,
    SYS_finit_module,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fsopen,
    SYS_fspick,
    SYS_init_module,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_io_uring_setup,
    SYS_kexec_file_load,
    SYS_kexec_load,
    SYS_keyctl,
    SYS_mount,
    SYS_mount_setattr,
    SYS_move_mount,
    SYS_open_by_handle_at,
    SYS_open_tree,
    SYS_perf_event_open,
    SYS_pivot_root,
    SYS_quotactl,
    SYS_reboot,
    SYS_request_key,
    SYS_setdomainname,
    SYS_sethostname,
    SYS_setns,
    SYS_settimeofday,
    SYS_swapoff,
    SYS_swapon,
    SYS_syslog,
    SYS_umount2,
    SYS_unshare,
    SYS_userfaultfd,
    SYS_vhangup,
};
enum { REFUSED = sizeof refused / sizeof *refused };

static const unsigned namespaces =
    CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWUTS;

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, field))
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, value)
#define JUMP(test, operand, yes, no) BPF_JUMP(BPF_JMP | (test) | BPF_K, operand, yes, no)

int filter_enter(struct failure *failure) {
  struct sock_filter program[REFUSED + 16] = {
      LOAD(arch),
      JUMP(BPF_JEQ, OWN_ARCHITECTURE, 1, 0),
      ANSWER(SECCOMP_RET_ERRNO | ENOSYS),
      LOAD(nr),
      JUMP(BPF_JGE, OTHER_NUMBERS, 0, 1),
      ANSWER(SECCOMP_RET_ERRNO | ENOSYS),
      JUMP(BPF_JEQ, SYS_clone3, 0, 1),
      ANSWER(SECCOMP_RET_ERRNO | ENOSYS),
      JUMP(BPF_JEQ, SYS_clone, 0, 3),
      LOAD(args[0]), /* its lower half: little-endian */
      JUMP(BPF_JSET, namespaces, REFUSED + 2, 0),
      ANSWER(SECCOMP_RET_ALLOW),
  };
  unsigned short length = 12;
  for (int i = 0; i < REFUSED; i++)
    program[length++] = (struct sock_filter)JUMP(BPF_JEQ, refused[i], (unsigned char)(REFUSED - i), 0);
  program[length++] = (struct sock_filter)ANSWER(SECCOMP_RET_ALLOW);
  program[length++] = (struct sock_filter)ANSWER(SECCOMP_RET_ERRNO | EPERM);
  const struct sock_fprog filter = {.len = length, .filter = program};
  /* What guards a process against others of its own does not slow the ranks down: a sandbox is one user's. */
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter) == 0) return 0;
  return failed(failure, "carrier", "system calls");
}
