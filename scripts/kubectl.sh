#!/usr/bin/env bash
# Brings the unmodified kubectl, once a machine, and prints its path: Debian sid's, unpacked into the cache beside the system.
# The tests run it against Muster's own API server; a kubectl that the machine has is not used, since it may be of any age.
set -euo pipefail
cd "$(dirname "$0")"
. ./progress.sh
. ./debian.sh

prefix=$MUSTER_CACHE/kubectl-$(sha256sum <kubectl.sh | cut -c1-12)
if [ ! -x "$prefix/usr/bin/kubectl" ]; then
  ./packages.sh debian-archive-keyring >&2
  take_lock kubectl
fi
if [ ! -x "$prefix/usr/bin/kubectl" ]; then
  rm -rf "$MUSTER_CACHE"/kubectl-fetch.* # of a fetch that was killed; ours is the lock
  work=$(mktemp -d "$MUSTER_CACHE/kubectl-fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say 'fetching kubectl from Debian sid (16 MB, a few seconds, once)'
  debian_view "$work/apt" sid deb
  mkdir "$work/debs" "$work/new"
  fetch() (cd "$work/debs" && debian_apt "$work/apt" download kubectl)
  quietly 'fetching kubectl' fetch
  for deb in "$work"/debs/*.deb; do dpkg-deb --extract "$deb" "$work/new"; done
  "$work/new/usr/bin/kubectl" version --client >/dev/null || fail 'the kubectl of Debian sid does not start on this machine'
  mv -T "$work/new" "$prefix"
fi
echo "$prefix/usr/bin/kubectl"
