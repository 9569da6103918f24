#!/usr/bin/env bash
# `make demo`: a control plane and two agents on this machine, a real MPI job over both, its output, its state, and nothing
# left behind. Fails when the job does. Its cluster is its own (build/demo-home), beside any other on the machine.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/progress.sh
. scripts/staging.sh

[ -x bin/muster ] || fail "bin/muster is missing: run 'make build'"
scripts/programs.sh

checkout=$PWD
export MUSTER_HOME=$checkout/build/demo-home
# Socket paths are limited to 107 bytes by the kernel.
if [ ${#MUSTER_HOME} -gt 80 ]; then MUSTER_HOME=$(mktemp -d /tmp/muster-demo-home.XXXXXX); fi
staged=

muster() { "$checkout/bin/muster" "$@"; }
step() { printf '\n$ %s\n' "$*"; }

clean_up() {
  local status=$?
  trap - EXIT INT TERM
  step muster down
  muster down || status=1
  if [ -n "$staged" ]; then rm -rf "$staged"; fi
  if [ "$status" -eq 0 ]; then
    rm -rf "$MUSTER_HOME"
  else
    say "the demo failed; its logs are in $MUSTER_HOME/logs"
  fi
  exit "$status"
}

# What an earlier, killed demo left.
if [ -d "$MUSTER_HOME/run" ]; then muster down >/dev/null 2>&1 || true; fi
rm -rf "$MUSTER_HOME"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

programs=$checkout
if ! readable_by_jobs "$checkout"; then
  staged=$(staging_directory muster-demo)
  mkdir -p "$staged/build"
  cp -r build/programs "$staged/build/"
  programs=$staged
fi

step muster up --detach --agents 2
muster up --detach --agents 2

step muster apply -f examples/cpi.yaml
sed "s|/opt/muster/|$programs/|" examples/cpi.yaml | muster apply -f -

step muster logs -f cpi
muster logs -f cpi

step muster get pg
muster get pg
muster wait cpi --for Succeeded --timeout 10

features=$(muster doctor || true)
if ! grep -q '^yes *checkpoint' <<<"$features"; then
  say 'this machine cannot save jobs, see `muster doctor`: the demo ends here'
  exit 0
fi

step muster run --detach --name ring -n 4 ring --seconds 8
(cd "$programs" && muster run --detach --name ring -n 4 build/programs/ring --seconds 8 --report-every 2000)

if grep -q '^yes *network-isolated' <<<"$features"; then
  step muster migrate ring --from node1 --to node2
  muster migrate ring --from node1 --to node2
  step muster ps ring
  muster ps ring
fi

step muster checkpoint ring --stop --name half
muster checkpoint ring --stop --name half

step muster restart half --name rest
muster restart half --name rest
muster wait rest --timeout 30

step muster logs rest -r 0
muster logs rest -r 0 | tail -n 3
