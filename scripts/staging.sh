# Sourced: whether jobs can use what lies in this checkout. A job's user is not root (root's jobs run as nobody), and it sees a
# /tmp and /run of its own.
#
#   readable_by_jobs DIR         succeeds when jobs can run programs below DIR
#   staging_directory NAME       makes a directory that jobs can read, and prints it; the caller removes it
#   run_in_readable_copy SCRIPT ARGS...   where jobs cannot read the checkout this is in, runs its SCRIPT in a copy of it that they
#                                can read, and exits with its status; packages are linked, where that can be, being large
readable_by_jobs() {
  case $1 in /tmp/* | /run/* | /dev/shm/*) return 1 ;; esac
  [ "$(id -u)" -ne 0 ] || setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$1/package.json" -o -r "$1/package.json"
}

staging_directory() {
  local directory
  directory=$(mktemp -d "/var/tmp/$1.XXXXXX")
  chmod 755 "$directory"
  echo "$directory"
}

run_in_readable_copy() {
  local staged status=0
  if readable_by_jobs "$PWD"; then return; fi
  staged=$(staging_directory muster-checkout)
  trap "rm -rf '$staged'" EXIT
  tar --create --exclude=./node_modules --exclude=./.git --exclude=./build/test-homes . | tar --extract --directory "$staged"
  if ! cp -al node_modules "$staged/" 2>/dev/null; then
    rm -rf "$staged/node_modules"
    cp -a node_modules "$staged/"
  fi
  "$staged/$1" "${@:2}" || status=$?
  exit "$status"
}
