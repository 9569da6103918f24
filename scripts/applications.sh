#!/usr/bin/env bash
# Brings applications that others wrote, for the tests, and prints where they are: GROMACS, built with MPICH (Debian 11; later
# releases have it with Open MPI only), and PVM with its examples. Debian's packages are unpacked into the cache, once a machine, with
# those libraries that this machine does not have itself; nothing is installed. They are copied into build/programs, where jobs may
# read them. GROMACS runs on the MPICH of the test programs: the binary interface is the same.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/progress.sh
. scripts/debian.sh

prefix=$MUSTER_CACHE/applications-$(sha256sum scripts/applications.sh | cut -c1-12)
out=build/programs/applications
link() {
  mkdir -p build/programs
  [ "$(cat "$out/.from" 2>/dev/null)" = "$prefix" ] || {
    rm -rf "$out"
    cp -a "$prefix" "$out"
    printf '%s\n' "$prefix" >"$out/.from"
  }
}

if [ ! -d "$prefix" ]; then
  scripts/packages.sh debian-archive-keyring >&2
  take_lock applications
fi
if [ ! -d "$prefix" ]; then
  rm -rf "$MUSTER_CACHE"/applications-fetch.* # of a fetch that was killed; ours is the lock
  work=$(mktemp -d "$MUSTER_CACHE/applications-fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say 'fetching GROMACS and PVM from Debian (once)'

  # unpack NAME SUITE PACKAGE...
  unpack() {
    local name=$1 suite=$2
    shift 2
    debian_view "$work/apt-$suite" "$suite" deb
    mkdir -p "$work/debs-$name" "$work/new/$name"
    fetch() (cd "$work/debs-$name" && debian_apt "$work/apt-$suite" download "$@")
    quietly "fetching $name" fetch "$@"
    for deb in "$work/debs-$name"/*.deb; do dpkg-deb --extract "$deb" "$work/new/$name"; done
    rm -rf "$work/new/$name/usr/share/doc" "$work/new/$name/usr/share/man" "$work/new/$name/usr/share/lintian"
  }
  unpack gromacs bullseye gromacs gromacs-mpich libgromacs5 libfftw3-single3 libblas3 liblapack3 libgfortran5 libquadmath0
  # In double precision it is there too; the links of blas and lapack are made by their installation.
  libraries=$work/new/gromacs/usr/lib/$(gcc -print-multiarch)
  rm "$libraries"/lib*_d.so* "$work"/new/gromacs/usr/bin/*_d*
  for name in blas lapack; do ln -s "$name/lib$name.so.3" "$libraries/"; done
  unpack pvm bookworm pvm pvm-examples libpvm3
  mv -T "$work/new" "$prefix"
fi
link
echo "$out"
