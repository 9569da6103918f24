#!/usr/bin/env bash
# Builds the kubelet and the scheduler that the tests run carrier Pods with, once a machine, and prints the folder that holds them:
# bin/kubelet, bin/kube-scheduler. They are those of Debian bookworm's source package kubernetes (1.20.2, with all libraries), compiled
# by bookworm's Go; both are unpacked beside the system. containerd, runc and the network plugins are Debian's packages of this machine (scripts/setup.sh).
#   GOCACHE=DIR   keeps what Go compiled there
set -euo pipefail
cd "$(dirname "$0")"
. ./progress.sh
. ./debian.sh

prefix=$MUSTER_CACHE/kubelet-$(sha256sum <kubelet.sh | cut -c1-12)
if [ -x "$prefix/bin/kubelet" ]; then
  echo "$prefix"
  exit 0
fi

./packages.sh debian-archive-keyring dpkg-dev >&2
take_lock kubelet
if [ -x "$prefix/bin/kubelet" ]; then
  echo "$prefix"
  exit 0
fi

rm -rf "$MUSTER_CACHE"/kubelet-build.* # of a build that was killed; ours is the lock
work=$(mktemp -d "$MUSTER_CACHE/kubelet-build.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
started=$SECONDS
free=$(df --output=avail -m "$MUSTER_CACHE" | tail -n 1)
[ "$free" -ge 3000 ] || fail "building the kubelet of the tests takes 2 GB for a while; $MUSTER_CACHE has $free MB free"

say 'building the kubelet of the tests: about 5 minutes at low priority, once; fetching Go and the sources from Debian bookworm (90 MB)'
go=golang-1.19
mkdir -p "$work"/{debs,source,tools,new/bin,gopath/src/k8s.io/kubernetes}
debian_view "$work/apt" bookworm deb
debian_view "$work/apt-src" bookworm deb-src
fetch() {
  (cd "$work/debs" && debian_apt "$work/apt" download "$go-go" "$go-src" golang-github-modern-go-reflect2-dev) &&
    (cd "$work/source" && debian_apt "$work/apt-src" source --download-only kubernetes)
}
quietly 'fetching the packages' fetch
for deb in "$work"/debs/*.deb; do dpkg-deb --extract "$deb" "$work/tools"; done
kubernetes=$work/gopath/src/k8s.io/kubernetes
tar --extract --file "$(echo "$work"/source/kubernetes_*.orig.tar.*z)" --directory "$kubernetes" --strip-components 1
rm -rf "$work"/{debs,source}

# The reflect2 that lies in there crashes under Go 1.18 and later: a map that is walked through is another thing since.
vendored=$kubernetes/vendor/github.com/modern-go/reflect2
rm -rf "$vendored"
cp -r "$work/tools/usr/share/gocode/src/github.com/modern-go/reflect2" "$vendored"
rm -f "$vendored/go.mod"
# Whoever asks a kubelet of no version is told v0.0.0-master: API servers and tools refuse to judge that.
(cd "$kubernetes" && sed -i -E 's/(gitVersion +(string +)?= ).*/\1"v1.20.2"/; s/gitMajor +string.*/gitMajor string = "1"/; s/gitMinor +string.*/gitMinor string = "20"/' \
  staging/src/k8s.io/{component-base,client-go/pkg}/version/base.go)

export GOROOT=$work/tools/usr/lib/$(echo $go | sed s/golang/go/) GOPATH=$work/gopath GOCACHE=${GOCACHE:-$work/gocache}
export GO111MODULE=off GOFLAGS='' GOPROXY=off CGO_ENABLED=0 PATH=$GOROOT/bin:$PATH
say "compiling the kubelet ($((SECONDS - started)) s so far)"
compile() (cd "$kubernetes" && nice go build -trimpath -ldflags '-s -w' -o "$work/new/bin/" ./cmd/kubelet ./cmd/kube-scheduler)
quietly 'compiling the kubelet and the scheduler 1.20.2 of Debian bookworm' compile
for program in kubelet kube-scheduler; do
  "$work/new/bin/$program" --version >/dev/null || fail "the $program does not start on this machine"
done
mv -T "$work/new" "$prefix"
say "the kubelet of the tests is ready after $((SECONDS - started)) s"
echo "$prefix"
