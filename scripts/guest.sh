#!/usr/bin/env bash
# Makes what a virtual machine for tests starts with, and prints the directory (in build/) where it lies: `kernel`, of a later Debian,
# and `initial`, the file system in memory that is all the machine has: BusyBox, Node and the build of this checkout in /muster.
# Kernel and BusyBox are brought once a machine into the cache, beside the system; QEMU is a package of it. Needs no KVM.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/progress.sh
. scripts/debian.sh
[ "$(uname -m)" = x86_64 ] || fail "virtual machines are made for x86_64 only; this is $(uname -m)"
node=$(scripts/node-path.sh)
scripts/packages.sh binutils qemu-system-x86 >&2

modules=(net/core/failover drivers/net/net_failover drivers/net/virtio_net)
fetch_all() {
  local work version name started=$SECONDS
  rm -rf "$MUSTER_CACHE"/guest-fetch.* # of a fetch that was killed; ours is the lock
  work=$(mktemp -d "$MUSTER_CACHE/guest-fetch.XXXXXX")
  say 'fetching the kernel of Debian trixie for tests in a virtual machine (35 MB, about 10 s, once)'
  debian_view "$work/apt" trixie deb
  name=$(debian_cache "$work/apt" depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
  [ -n "$name" ] || fail 'Debian trixie on this mirror has no kernel for virtual machines'
  version=${name#linux-image-}
  mkdir "$work/debs" "$work/root" "$work/new"
  fetch() (cd "$work/debs" && debian_apt "$work/apt" download "$name" busybox-static)
  quietly 'fetching the kernel' fetch
  for deb in "$work"/debs/*.deb; do dpkg-deb --extract "$deb" "$work/root"; done
  cp "$work/root/boot/vmlinuz-$version" "$work/new/kernel"
  cp "$work"/root/*/bin/busybox "$work/new/busybox"
  for each in "${modules[@]}"; do
    "$work/new/busybox" unxz <"$work/root/usr/lib/modules/$version/kernel/$each.ko.xz" >"$work/new/${each##*/}.ko"
  done
  mv -T "$work/new" "$brought"
  rm -rf "$work"
  say "the kernel $version is ready after $((SECONDS - started)) s"
}
brought=$MUSTER_CACHE/guest-$({ declare -f fetch_all; printf '%s\n' "${modules[@]}"; } | sha256sum | cut -c1-12)
if [ ! -e "$brought/kernel" ]; then
  scripts/packages.sh debian-archive-keyring >&2
  take_lock guest
  [ -e "$brought/kernel" ] || fetch_all
  exec 9>&-
fi

mkdir -p build
new=$(mktemp -d build/guest.XXXXXX)
trap 'rm -rf "$new"' EXIT
root=$new/root
mkdir -p "$root"/{.root,bin,dev,etc,modules,proc,root,run,sys,tmp,var/tmp} "$root"/muster/{build/dist,crds,wire}
chmod 755 "$new" "$root" # what mktemp made is its owner's alone
chmod 1777 "$root/var/tmp"
install -m 755 scripts/guest-init.sh "$root/init"
cp "$brought/busybox" "$root/bin/"
cp "$brought"/*.ko "$root/modules/"
strip -o "$root/bin/node" "$node"
mapfile -t libraries < <(ldd "$node" | grep -o '/[^ ]*')
cp --parents -L "${libraries[@]}" "$root/"
printf 'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
printf '127.0.0.1 localhost\n10.0.2.2 hub.muster\n' >"$root/etc/hosts"
cp package.json "$root/muster/"
cp crds/*.yaml "$root/muster/crds/"
cp wire/*.proto "$root/muster/wire/"
cp build/dist/*.mjs "$root/muster/build/dist/"
mkdir "$root/muster/build/native"
find build/native -maxdepth 1 -type f -exec cp {} "$root/muster/build/native/" \;
(cd "$root" && find . | "$brought/busybox" cpio -o -H newc 2>/dev/null) >"$new/initial"
rm -rf "$root"
cp "$brought/kernel" "$new/kernel"
rm -rf build/guest
mv -T "$new" build/guest
echo build/guest
