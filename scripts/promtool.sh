#!/usr/bin/env bash
# Brings promtool, once a machine, and prints its path: Debian bookworm's, unpacked into the cache beside the system. The tests check
# with it the chart's rules, and what controllers and agents tell Prometheus.
set -euo pipefail
cd "$(dirname "$0")"
. ./progress.sh
. ./debian.sh

prefix=$MUSTER_CACHE/promtool-$(sha256sum <promtool.sh | cut -c1-12)
if [ ! -x "$prefix/promtool" ]; then
  ./packages.sh debian-archive-keyring >&2
  take_lock promtool
fi
if [ ! -x "$prefix/promtool" ]; then
  rm -rf "$MUSTER_CACHE"/promtool-fetch.* # of a fetch that was killed; ours is the lock
  work=$(mktemp -d "$MUSTER_CACHE/promtool-fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say 'fetching promtool from Debian bookworm (19 MB, a few seconds, once)'
  debian_view "$work/apt" bookworm deb
  mkdir "$work/debs" "$work/unpacked" "$work/new"
  fetch() (cd "$work/debs" && debian_apt "$work/apt" download prometheus)
  quietly 'fetching the package prometheus' fetch
  for deb in "$work"/debs/*.deb; do dpkg-deb --extract "$deb" "$work/unpacked"; done
  mv "$work/unpacked/usr/bin/promtool" "$work/new/"
  "$work/new/promtool" --version >/dev/null || fail 'the promtool of Debian bookworm does not start on this machine'
  mv -T "$work/new" "$prefix"
fi
echo "$prefix/promtool"
