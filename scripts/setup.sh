#!/usr/bin/env bash
# Makes a fresh Debian machine with git, make and any Node.js 20 ready to build and run Muster: `setup.sh [SET]`, SET one of
#   base    what `make build` and `make demo` need, and for root CRIU (default)
#   test    base, and what the tests use besides: a browser, users' MPI (Debian's MPICH), libfaketime, SPIN, WireGuard, our MPICH,
#           GROMACS, PVM, kubectl; the Kubernetes API server takes so long to build that scripts/test.sh builds it while other tests run
#   lint    base, and clang-format
# Safe to run again at any time, and quick (about 0.1 s) when nothing is to do. What Node 24 is needed for comes from npm.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/progress.sh

set_name=${1:-base}
case $set_name in base | test | lint) ;; *) fail "unknown set $set_name: expected base, test or lint" ;; esac

packages=(g++ gcc iproute2 libc6-dev nftables procps util-linux)
[ "$set_name" = test ] && packages+=(bindfs chromium containerd containernetworking-plugins fuse3 hwloc-nox runc libfaketime libhwloc-dev lua5.1 mpich spin wireguard-go wireguard-tools)
[ "$set_name" = lint ] && packages+=(clang-format)
scripts/packages.sh "${packages[@]}"

# npm packages: a stamp in node_modules says which lock file they were installed from.
stamp=node_modules/.muster-setup
lock=$(sha256sum package-lock.json)
if [ "$(cat "$stamp" 2>/dev/null)" != "$lock" ]; then
  command -v node >/dev/null || fail 'Node.js is missing: install any version from 20 on (the Debian package nodejs of Debian 13, or nodejs.org)'
  command -v npm >/dev/null || fail 'npm is missing: it comes with Node.js, on Debian as the package npm'
  major=$(node -p 'process.versions.node.split(".")[0]')
  [ "$major" -ge 20 ] || fail "Node.js 20 or later is needed to install the packages; this is $(node --version)"
  take_lock "npm-$(pwd | sha256sum | cut -c1-12)"
  if ! node scripts/npm-current.mjs; then
    say 'installing npm packages, Node 24 among them (under a minute)'
    quietly 'npm ci' npm ci --no-audit --no-fund 9>&-
  fi
  printf '%s\n' "$lock" >"$stamp"
fi

"$(scripts/node-path.sh)" -e 0 || fail 'Node 24 from the npm package does not start on this machine'

# CRIU needs root to be of use.
if [ "$set_name" != lint ] && [ "$(id -u)" -eq 0 ]; then
  scripts/criu.sh >/dev/null || say 'CRIU could not be set up: jobs run, but cannot be checkpointed; its tests will say so'
fi

if [ "$set_name" = test ]; then
  scripts/programs.sh
  scripts/applications.sh >/dev/null || say 'GROMACS and PVM could not be fetched: the tests of them will say so'
  scripts/kubectl.sh >/dev/null
  scripts/promtool.sh >/dev/null
fi
