/* See child.h. No allocation but one mmap for the pointer tables of exec; no library call that could take a lock. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "slots.h"

static uint32_t own_slot;

static _Noreturn void give_up(enum start_stage stage, int error) {
  struct start_failure failure = {.slot = own_slot, .stage = stage, .error = error};
  while (write(FD_FAILURE_WRITE, &failure, sizeof failure) < 0 && errno == EINTR) continue;
  _exit(127);
}

/* Descriptors 0 to 3 as asked; nothing else of rank-init's stays open, so what it closes is closed. */
static void take_descriptors(const struct stdio *stdio) {
  for (int fd = 0; fd < 4; fd++)
    if (stdio->child[fd] >= 0 && dup2(stdio->child[fd], fd) < 0) give_up(STAGE_STDIO, errno);
  if (stdio->terminal >= 0 && ioctl(stdio->terminal, TIOCSCTTY, 0) < 0) give_up(STAGE_STDIO, errno);
  if (stdio->child[3] < 0) close(3);
  /* A filter that refuses this must not leave a rank with what is of others. */
  if (close_range(4, FD_FAILURE_WRITE - 1, 0) < 0 || close_range(FD_FAILURE_WRITE + 1, ~0u, 0) < 0) give_up(STAGE_STDIO, errno);
}

static void take_limits(const struct child_setting *setting, const struct start_view *view) {
  bool open_files = false;
  for (uint32_t i = 0; i < view->entry->rlimits; i++) {
    const struct start_rlimit *asked = &view->rlimits[i];
    struct rlimit limit = {.rlim_cur = asked->soft, .rlim_max = asked->hard};
    if (setrlimit((int)asked->resource, &limit) < 0) give_up(STAGE_RLIMIT, errno);
    open_files |= asked->resource == RLIMIT_NOFILE;
  }
  if (!open_files && setrlimit(RLIMIT_NOFILE, &setting->open_files) < 0) give_up(STAGE_RLIMIT, errno);
}

static void take_processors(const struct start_view *view) {
  if (view->entry->cpu_bytes == 0) return;
  if (syscall(SYS_sched_setaffinity, 0, view->entry->cpu_bytes, view->cpu_mask) < 0) give_up(STAGE_AFFINITY, errno);
}

/* The bounding set and no_new_privs are rank-init's own already, inherited by every child. */
static void take_credentials(const struct start_view *view) {
  const struct start_entry *entry = view->entry;
  if (entry->gid != UINT32_MAX) {
    if (syscall(SYS_setgroups, entry->groups, view->groups) < 0) give_up(STAGE_CREDENTIALS, errno);
    if (syscall(SYS_setresgid, entry->gid, entry->gid, entry->gid) < 0) give_up(STAGE_CREDENTIALS, errno);
  }
  if (entry->uid != UINT32_MAX && syscall(SYS_setresuid, entry->uid, entry->uid, entry->uid) < 0)
    give_up(STAGE_CREDENTIALS, errno);
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[2] = {{0}, {0}};
  if (syscall(SYS_capset, &header, none) < 0) give_up(STAGE_CREDENTIALS, errno);
}

static void open_output(const char *path, int fd) {
  int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_CLOEXEC, 0666);
  if (file < 0 || dup2(file, fd) < 0) give_up(STAGE_STDIO, errno);
  close(file);
}

static bool same_name(const char *one, const char *other) {
  while (*one && *one != '=' && *one == *other) one++, other++;
  return *one == *other && *one == '=';
}

struct program {
  const char **argv; /* with one free place before it */
  const char **envp;
};

/* Pointer tables over the strings of the file. The entry's own variables win over shared ones of the same name. */
static struct program tables(const struct child_setting *setting, const struct start_view *view) {
  const struct start_file *file = start_file_header(setting->file);
  size_t shared = view->entry->flags & START_NO_SHARED_ENV ? 0 : file->shared_env_count;
  size_t places = (size_t)view->entry->argc + view->entry->envc + shared + 3;
  const char **place = mmap(NULL, places * sizeof *place, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (place == MAP_FAILED) give_up(STAGE_EXEC, errno);

  struct program program = {.argv = place + 1};
  const char *string = view->argv;
  for (place++; place < program.argv + view->entry->argc; string += strlen(string) + 1) *place++ = string;
  *place++ = NULL;
  program.envp = place;
  string = view->envp;
  for (uint32_t i = 0; i < view->entry->envc; i++, string += strlen(string) + 1) *place++ = string;
  const char **own_end = place;
  string = (const char *)setting->file + file->shared_env_offset;
  for (size_t i = 0; i < shared; i++, string += strlen(string) + 1) {
    const char **own = program.envp;
    while (own < own_end && !same_name(*own, string)) own++;
    if (own == own_end) *place++ = string;
  }
  *place = NULL;
  return program;
}

/* As execvp(3): a text without an interpreter line is given to the shell. Returns the errno. */
static int execute(const char *path, const struct program *program) {
  execve(path, (char *const *)program->argv, (char *const *)program->envp);
  if (errno != ENOEXEC) return errno;
  const char **argv = program->argv - 1;
  const char *name = program->argv[0];
  argv[0] = "/bin/sh";
  program->argv[0] = path;
  execve("/bin/sh", (char *const *)argv, (char *const *)program->envp);
  program->argv[0] = name;
  return ENOEXEC;
}

static const char *search_path(const struct start_view *view, const struct program *program) {
  if (view->search_path[0]) return view->search_path;
  for (const char **variable = program->envp; *variable; variable++)
    if (same_name(*variable, "PATH=")) return *variable + strlen("PATH=");
  return "/usr/local/bin:/usr/bin:/bin";
}

/* The errno that tells most: "not executable" beats "no such file" when some directory of the path had it. */
static int execute_by_search(const struct start_view *view, const struct program *program) {
  const char *name = program->argv[0];
  if (strchr(name, '/')) return execute(name, program);
  char path[4096];
  int told = ENOENT;
  for (const char *from = search_path(view, program);; from++) {
    const char *end = strchrnul(from, ':');
    size_t length = (size_t)(end - from);
    if (length + strlen(name) + 2 <= sizeof path) {
      memcpy(path, from, length);
      if (length > 0) path[length++] = '/';
      strcpy(path + length, name);
      int error = execute(path, program);
      if (error == EACCES) told = EACCES;
      else if (error != ENOENT && error != ENOTDIR && error != ENAMETOOLONG) return error;
    } else if (told == ENOENT) {
      told = ENAMETOOLONG;
    }
    if (*end == 0) return told;
    from = end;
  }
}

_Noreturn void child_run(const struct child_setting *setting, const struct start_view *view, const struct stdio *stdio,
                         uint32_t slot) {
  const struct start_entry *entry = view->entry;
  own_slot = slot;
  setsid();
  take_descriptors(stdio);
  take_limits(setting, view);
  take_processors(view);
  take_credentials(view);
  umask(entry->umask);
  if (view->working_directory[0] && chdir(view->working_directory) < 0) give_up(STAGE_CHDIR, errno);
  if (entry->stdout_kind == STDIO_FILE) open_output(view->stdout_file, 1);
  if (entry->stderr_kind == STDIO_FILE) open_output(view->stderr_file, 2);
  struct program program = tables(setting, view);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  give_up(STAGE_EXEC, execute_by_search(view, &program));
}
