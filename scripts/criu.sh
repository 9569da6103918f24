#!/usr/bin/env bash
# Brings CRIU 4.2 or later, once a machine, and prints the path of a `criu` to run. Debian 12's is too old for current
# kernels, so the one of Debian sid is unpacked into the cache with every library it needs, its C library included, and run
# through its own dynamic loader: nothing of it is installed, nothing on the machine changes. The folder is whole in itself, wherever it
# is copied to, and needs neither a shell nor tar of the machine (native/criu-shim/run.c): agents in containers put it on their nodes.
set -euo pipefail
cd "$(dirname "$0")"
. ./progress.sh
. ./debian.sh

least=4.2
# Where the agent looks for it.
link() {
  mkdir -p ../build
  [ "$(readlink ../build/criu)" = "$prefix" ] || ln -sfn "$prefix" ../build/criu
}
prefix=$MUSTER_CACHE/criu-$(cat criu.sh ../native/criu-shim/{run,shim}.c | sha256sum | cut -c1-12)
if [ -x "$prefix/bin/criu" ]; then
  link
  echo "$prefix/bin/criu"
  exit 0
fi

./packages.sh gcc libc6-dev debian-archive-keyring >&2
take_lock criu
if [ -x "$prefix/bin/criu" ]; then
  link
  echo "$prefix/bin/criu"
  exit 0
fi

rm -rf "$MUSTER_CACHE"/criu-fetch.* # of a fetch that was killed; ours is the lock
work=$(mktemp -d "$MUSTER_CACHE/criu-fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
started=$SECONDS
say 'fetching CRIU and its libraries from Debian sid (15 MB, about 10 s, once)'
debian_view "$work/apt" sid deb

# Everything criu and tar depend on, however far; what is no real package, and what holds no library, is left out.
needed() {
  debian_cache "$work/apt" depends --recurse --important criu tar |
    awk '/^[a-z0-9]/ && !/^(gcc-[0-9]+-base|libc-gconv-modules-extra)$/' | sort -u
}
mapfile -t packages < <(needed)
[ ${#packages[@]} -gt 1 ] || fail 'Debian sid on this mirror has no criu for this machine'
mkdir "$work/debs" "$work/new" "$work/new/root" "$work/new/bin" "$work/new/tools"
fetch() (cd "$work/debs" && debian_apt "$work/apt" download "${packages[@]}")
quietly 'fetching CRIU' fetch
for deb in "$work"/debs/*.deb; do dpkg-deb --extract "$deb" "$work/new/root"; done
# Documentation, translations and character sets are of no use here.
rm -rf "$work/new/root/usr/share" "$work"/new/root/usr/lib/*/gconv "$work/new/root/etc"

triplet=$(gcc -print-multiarch)
loader=$(cd "$work/new" && find root -name 'ld-linux*.so.*' -path "*$triplet*" | head -n 1)
[ -n "$loader" ] || fail "the C library of Debian sid holds no dynamic loader for $triplet"
compile() {
  gcc -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -Wconversion -Werror "$@"
}
compile -shared -fPIC -fvisibility=default ../native/criu-shim/shim.c -o "$work/new/shim.so" -ldl
compile -static -s -DLOADER="\"$loader\"" -DLIBRARIES="\"root/usr/lib/$triplet\"" ../native/criu-shim/run.c -o "$work/new/bin/criu"
ln "$work/new/bin/criu" "$work/new/tools/tar"

version=$("$work/new/bin/criu" --version | awk '/^Version:/ { print $2 }')
dpkg --compare-versions "${version:-0}" ge "$least" || fail "CRIU $least or later is needed; Debian sid on this mirror has ${version:-none that starts}"
mv -T "$work/new" "$prefix"
link
if [ "$(id -u)" -eq 0 ]; then
  if answer=$("$prefix/bin/criu" check 2>&1); then
    say "CRIU $version is ready after $((SECONDS - started)) s; \`criu check\`: ${answer##*$'\n'}"
  else
    say "CRIU $version is unpacked, but this kernel lacks what it needs (\`criu check\`): $answer"
  fi
else
  say "CRIU $version is ready; it dumps and restores as root only"
fi
echo "$prefix/bin/criu"
