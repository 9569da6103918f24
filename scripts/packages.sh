#!/usr/bin/env bash
# Sees to it that the named Debian packages are installed: `packages.sh NAME...`. Asks dpkg first, so that
# it costs a few milliseconds when nothing is missing and never touches the network then. It knows nothing
# of what the packages are for. When it may not install, it says what to type, and fails.
set -euo pipefail
. "$(dirname "$0")/progress.sh"

# One question to dpkg for all names; what it does not know it leaves out of its answer.
missing_of() {
  local installed name
  installed=$(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
  for name in "$@"; do
    case $'\n'"$installed"$'\n' in
      *$'\n'"$name installed"$'\n'*) ;;
      *) echo "$name" ;;
    esac
  done
}

command -v dpkg-query >/dev/null || fail "this is no Debian: install what these Debian packages hold by hand: $*"
mapfile -t missing < <(missing_of "$@")
[ ${#missing[@]} -eq 0 ] && exit 0

[ "$(id -u)" -eq 0 ] || fail "these Debian packages are missing: run 'sudo apt-get install ${missing[*]}', then start again"

take_lock packages
mapfile -t missing < <(missing_of "$@")
[ ${#missing[@]} -eq 0 ] && exit 0
say "installing ${#missing[@]} Debian packages (under a minute): ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
install_missing() {
  # apt waits for a package manager that is already at work; 9>&- keeps our lock out of what it starts.
  apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}" 9>&-
}
if ! apt-get install --simulate --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
  quietly 'apt-get update' apt-get update 9>&-
fi
# Package lists may be older than the archive: then the first try meets a file that is gone.
quietly 'apt-get install' install_missing || {
  quietly 'apt-get update' apt-get update 9>&-
  quietly 'apt-get install' install_missing
}
