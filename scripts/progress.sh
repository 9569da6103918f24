# Shared by the shell scripts here: how they speak, where they keep what is dear to build, and how two of
# them started at once wait for each other. Sourced, never run. It knows nothing of what is being built.
#
#   say TEXT...            one line on stderr, so that a script's stdout stays its result
#   fail TEXT...           the same, then exit 1
#   quietly WHAT COMMAND   runs COMMAND with its output in a log; shows the log's end only when it fails
#   take_lock NAME         waits for the lock NAME in the cache, and holds it until the script ends

# Where nothing can be written there (or nobody has a home), the cache is in the checkout, with links to what there is to read.
MUSTER_CACHE=${MUSTER_CACHE:-${HOME:-/proc/nowhere}/.cache/muster}
if ! mkdir -p "$MUSTER_CACHE" 2>/dev/null || [ ! -w "$MUSTER_CACHE" ]; then
  own=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/build/cache
  mkdir -p "$own"
  for kept in "$MUSTER_CACHE"/*/; do
    if [ -d "$kept" ] && [ ! -e "$own/$(basename "$kept")" ]; then ln -sfn "${kept%/}" "$own/"; fi
  done
  MUSTER_CACHE=$own
fi
export MUSTER_CACHE

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

fail() {
  say "$*"
  exit 1
}

quietly() {
  local what=$1 log started=$SECONDS
  shift
  log=$(mktemp "${TMPDIR:-/tmp}/muster-setup.XXXXXX")
  if "$@" >"$log" 2>&1 </dev/null; then
    rm -f "$log"
    return 0
  fi
  say "$what failed after $((SECONDS - started)) s; the last lines it wrote:"
  tail -n 30 "$log" >&2
  say "the whole output is in $log"
  return 1
}

take_lock() {
  local file=$MUSTER_CACHE/$1.lock
  exec 9>"$file"
  if ! flock --nonblock 9; then
    say "another $1 is under way (lock $file); waiting for it"
    flock 9
  fi
}
