#!/usr/bin/env bash
# Compiles the example and the test programs (examples/*.c, test/programs/*.c) into build/programs, with the MPI
# library beside them in build/programs/lib: the folder can be copied anywhere, say to where a job's user may read.
# Does nothing for programs that are newer than their source, and builds MPICH first where it is lacking.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/progress.sh

out=build/programs
prefix=$(scripts/mpich.sh)
mkdir -p "$out"
exec 9>"$out/.lock"
flock 9

# Another library or another recipe: everything anew.
stamp="$prefix $(sha256sum scripts/programs.sh)"
if [ "$(cat "$out/.stamp" 2>/dev/null)" != "$stamp" ]; then
  rm -rf "$out"/* "$out/.stamp"
  mkdir -p "$out/lib"
  cp -P "$prefix"/lib/libmpi.so.12* "$out/lib/"
  ln -s libmpi.so.12 "$out/lib/libmpich.so.12"
fi

# Debian's MPICH (ch4:ucx) under the name these programs look for: LD_LIBRARY_PATH=build/programs/debian-lib runs them on it.
debian=/usr/lib/$(gcc -print-multiarch)/libmpich.so.12
if [ -e "$debian" ] && [ ! -e "$out/debian-lib/libmpi.so.12" ]; then
  mkdir -p "$out/debian-lib"
  ln -sfn "$debian" "$out/debian-lib/libmpi.so.12"
fi

flags=(-std=gnu17 -O2 -g -Wall -Wextra -Wconversion -Wno-sign-conversion -Werror)
built=0

# program NAME SOURCE COMPILER FLAGS...: written aside and renamed, so that a running program keeps its own text.
program() {
  local name=$1 source=$2
  shift 2
  if [ "$out/$name" -nt "$source" ]; then return; fi
  "$1" "${flags[@]}" "${@:2}" "$source" -o "$out/.$name.new" -lm
  mv "$out/.$name.new" "$out/$name"
  built=$((built + 1))
}
mpi() { program "$1" "$2" "$prefix/bin/mpicc" -Wl,-rpath,'$ORIGIN/lib' "${@:3}"; }
plain() { program "$1" "$2" gcc "${@:3}"; }

mpi cpi examples/cpi.c
mpi ring test/programs/ring.c
mpi allpairs test/programs/allpairs.c
mpi pingpong test/programs/pingpong.c
mpi saver test/programs/saver.c native/checkpoint/muster-checkpoint.c -pthread
mpi coupler-a test/programs/coupler.c -DSIDE=0
mpi coupler-b test/programs/coupler.c -DSIDE=1
for name in pmibench holder outgen incount exitwith netpipe orphan stubborn keeper eavesdrop writer half-acked; do
  plain "$name" "test/programs/$name.c"
done
plain callbacks test/programs/callbacks.c native/checkpoint/muster-checkpoint.c -pthread

printf '%s\n' "$stamp" >"$out/.stamp"
if [ "$built" -gt 0 ]; then say "compiled $built programs into $out"; fi
