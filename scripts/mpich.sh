#!/usr/bin/env bash
# Builds the MPI library that the demo and the tests use, once a machine, and prints where it is: MPICH 4.0.2
# with the device ch3:sock, from Debian's own source package. That build sleeps where Debian's binary package
# (ch4:ucx) spins, does not hang in MPI_Finalize over TCP, and can spawn and connect.
# The result lies in the cache under a name with this script's hash, so another recipe is another build.
set -euo pipefail
cd "$(dirname "$0")"
. ./progress.sh
. ./debian.sh

version=4.0.2
suite=bookworm
prefix=$MUSTER_CACHE/mpich-$version-ch3sock-$(sha256sum mpich.sh | cut -c1-12)

if [ -x "$prefix/bin/mpicc" ]; then
  echo "$prefix"
  exit 0
fi

./packages.sh gcc libc6-dev make libhwloc-dev xz-utils python3-minimal >&2
take_lock mpich
if [ -x "$prefix/bin/mpicc" ]; then
  echo "$prefix"
  exit 0
fi

rm -rf "$MUSTER_CACHE"/mpich-build.* # of a build that was killed; ours is the lock
work=$(mktemp -d "$MUSTER_CACHE/mpich-build.XXXXXX")
trap 'rm -rf "$work"' EXIT
started=$SECONDS

say "building MPICH $version (ch3:sock) for the demo and the tests: about 2.5 minutes, once; into $prefix"
debian_view "$work/apt" "$suite" deb-src
mkdir "$work/source"
find_source() { debian_cache "$work/apt" showsrc mpich | awk '$1 == "Version:" { print $2 }' | grep "^$version-" | tail -n 1; }
full=$(find_source) || fail "Debian $suite on this mirror has no source of mpich $version"
fetch() (cd "$work/source" && debian_apt "$work/apt" source --download-only "mpich=$full")
quietly 'fetching the source' fetch
tar -xf "$work"/source/mpich_*.orig.tar.* -C "$work/source"
tree=$(find "$work/source" -mindepth 2 -maxdepth 2 -name configure -printf '%h\n' | head -n 1)
[ -n "$tree" ] || fail "the source package holds no configure script"
cd "$tree"

say "configuring (about a minute)"
# The prefix is compiled into mpicc and the libraries, so the build is installed aside with DESTDIR and then renamed.
quietly configure ./configure --prefix="$prefix" --with-device=ch3:sock --disable-fortran --disable-cxx \
  --disable-romio --with-hwloc-prefix=/usr --enable-fast=O1 --disable-doc --disable-dependency-tracking \
  --disable-static --enable-silent-rules
say "compiling (about 1.5 minutes; $((SECONDS - started)) s so far)"
quietly make make -j "$(nproc)"
quietly 'make install' make install DESTDIR="$work/installed"

# A compile, link and run with the new library, before anybody else can see it: libraries by path, not by prefix.
probe() {
  printf '#include <mpi.h>\nint main(int c, char **v) { MPI_Init(&c, &v); MPI_Barrier(MPI_COMM_WORLD); return MPI_Finalize(); }\n' >"$work/probe.c"
  local root=$work/installed$prefix
  gcc -I "$root/include" "$work/probe.c" -o "$work/probe" -L "$root/lib" -lmpi
  # By address, since a fresh machine need not be able to look up its own name.
  MPICH_INTERFACE_HOSTNAME=127.0.0.1 LD_LIBRARY_PATH=$root/lib timeout 60 "$root/bin/mpiexec.hydra" -launcher fork -n 2 "$work/probe"
}
quietly 'the first run of an MPI program' probe
rm -rf "$work/installed$prefix/share"
mv -T "$work/installed$prefix" "$prefix"
say "MPICH is ready after $((SECONDS - started)) s"
echo "$prefix"
