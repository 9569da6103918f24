#!/usr/bin/env bash
# Builds the Kubernetes API server that the tests run against, once a machine, and prints the folder that holds it and its
# etcd: bin/kube-apiserver and bin/etcd. The server is test/kube/apiserver on Kubernetes' own libraries; libraries, Go and
# etcd are packages of Debian sid, unpacked beside the system: nothing is installed. The result lies in the cache under a name
# with the hash of this script and those sources. Sid moves: when a build breaks, the message names the versions it was tried
# with, and the last that worked is at the end of this file.
#   GOCACHE=DIR   keeps what Go compiled there: 10 s instead of minutes for the next build, for 1.5 GB
set -euo pipefail
cd "$(dirname "$0")"
. ./progress.sh
. ./debian.sh

sources=../test/kube/apiserver
prefix=$MUSTER_CACHE/kube-apiserver-$(cat kube-apiserver.sh "$sources"/*.go | sha256sum | cut -c1-12)
if [ -x "$prefix/bin/kube-apiserver" ]; then
  echo "$prefix"
  exit 0
fi

./packages.sh debian-archive-keyring >&2
take_lock kube-apiserver
if [ -x "$prefix/bin/kube-apiserver" ]; then
  echo "$prefix"
  exit 0
fi

rm -rf "$MUSTER_CACHE"/kube-apiserver-build.* # of a build that was killed; ours is the lock
work=$(mktemp -d "$MUSTER_CACHE/kube-apiserver-build.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
started=$SECONDS
free=$(df --output=avail -m "$MUSTER_CACHE" | tail -n 1)
[ "$free" -ge 3000 ] || fail "building the Kubernetes API server of the tests takes 2.5 GB for a while; $MUSTER_CACHE has $free MB free"

say 'building the Kubernetes API server of the tests: about 5 minutes at low priority, once; fetching Go, etcd and the libraries from Debian sid (110 MB)'
debian_view "$work/apt" sid deb

# What the server imports, by the Debian packages that hold it. apt is not asked for dependencies: they name build tools too.
libraries=(
  golang-cel-cel-go-dev golang-cel-expr-dev golang-etcd-server-dev golang-go.uber-multierr-dev golang-go.uber-zap-dev
  golang-github-{antlr4-go-antlr,beorn7-perks,blang-semver,cenkalti-backoff-v5,cespare-xxhash-v2,coreos-go-semver}-dev
  golang-github-{coreos-go-systemd,davecgh-go-spew,docker-spdystream,emicklei-go-restful,evanphx-json-patch}-dev
  golang-github-{felixge-httpsnoop,fsnotify-fsnotify,fxamacker-cbor,go-logr-logr,go-logr-stdr,go-openapi-jsonpointer}-dev
  golang-github-{go-openapi-jsonreference,go-openapi-swag,gogo-protobuf,golang-protobuf-1-5,google-gnostic-models}-dev
  golang-github-{google-uuid,gorilla-websocket,grpc-ecosystem-go-grpc-middleware,grpc-ecosystem-grpc-gateway}-dev
  golang-github-{json-iterator-go,kylelemons-godebug,modern-go-concurrent,modern-go-reflect2,munnerz-goautoneg}-dev
  golang-github-{mxk-go-flowrate,nytimes-gziphandler,pkg-errors,pmezard-go-difflib,prometheus-client-golang}-dev
  golang-github-{prometheus-client-model,prometheus-common,prometheus-procfs,spf13-cobra,spf13-pflag,x448-float16}-dev
  golang-golang-x-{crypto,exp,mod,net,oauth2,sync,sys,term,text,time,tools}-dev
  golang-google-{genproto,grpc,protobuf}-dev golang-gopkg-{inf.v0,natefinch-lumberjack.v2,yaml.v2,yaml.v3}-dev
  golang-k8s-{api,apiextensions-apiserver,apimachinery,apiserver,client-go,component-base,klog,kms,kube-openapi}-dev
  golang-k8s-{streaming,utils,sigs-apiserver-network-proxy,sigs-json,sigs-randfill,sigs-structured-merge-diff-v6,sigs-yaml}-dev
  golang-opentelemetry-{contrib,otel,proto}-dev
)
go=golang-1.26
mkdir -p "$work"/{debs,root,tools,gopath/src/muster/{apiserver,openapi},new/bin}
fetch() (cd "$work/debs" && debian_apt "$work/apt" download "$go-go" "$go-src" etcd-server kube-openapi "${libraries[@]}")
quietly 'fetching the packages' fetch
for deb in "$work"/debs/*.deb; do
  case ${deb##*/} in
    golang-1.* | etcd-server_* | kube-openapi_*) dpkg-deb --extract "$deb" "$work/tools" ;;
    *) dpkg-deb --extract "$deb" "$work/root" ;;
  esac
done
version=$(dpkg-deb --field "$work"/debs/golang-k8s-apiserver-dev_*.deb Version)
version=v1${version#0}
version=${version%%-*}
rm -rf "$work/debs"

export GOROOT=$work/tools/usr/lib/go-${go#golang-}
export GOCACHE=${GOCACHE:-$work/gocache} GOPATH=$work/gopath:$work/root/usr/share/gocode
export GO111MODULE=off GOFLAGS='' GOTOOLCHAIN=local GOPROXY=off CGO_ENABLED=0
export PATH=$GOROOT/bin:$PATH
cp "$sources"/*.go "$work/gopath/src/muster/apiserver/"

# OpenAPI definitions of the kinds that the server has.
kinds=()
for kind in core/v1 apps/v1 batch/v1 coordination/v1 events/v1 rbac/v1 policy/v1 networking/v1 discovery/v1 storage/v1 \
  scheduling/v1 admissionregistration/v1 authentication/v1 authorization/v1 autoscaling/v1 apiserverinternal/v1alpha1; do
  kinds+=("k8s.io/api/$kind")
done
for package in apis/meta/v1 runtime version api/resource util/intstr; do kinds+=("k8s.io/apimachinery/pkg/$package"); done
kinds+=(k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1)
: >"$work/header.txt"
definitions() (
  cd "$work/gopath/src/muster"
  nice "$work/tools/usr/bin/openapi-gen" --output-dir openapi --output-pkg muster/openapi --output-file definitions.go \
    --go-header-file "$work/header.txt" --report-filename "$work/violations.txt" "${kinds[@]}"
)
quietly "making OpenAPI definitions of Kubernetes $version" definitions

say "compiling Kubernetes $version ($((SECONDS - started)) s so far)"
named=k8s.io/component-base/version
minor=${version#v1.}
compile() (
  cd "$work"
  nice go build -trimpath -o "$work/new/bin/kube-apiserver" \
    -ldflags "-s -w -X $named.gitVersion=$version -X $named.gitMajor=1 -X $named.gitMinor=${minor%%.*} -X $named.gitTreeState=clean" \
    muster/apiserver
)
quietly "compiling test/kube/apiserver with Kubernetes $version and $go of Debian sid" compile
cp "$work/tools/usr/bin/etcd" "$work/new/bin/"
"$work/new/bin/etcd" --version >/dev/null || fail 'the etcd of Debian sid does not start on this machine'
mv -T "$work/new" "$prefix"
say "the Kubernetes API server of the tests ($version) is ready after $((SECONDS - started)) s"
echo "$prefix"

# Last built on Debian sid with: Kubernetes libraries 0.36.4-2, golang-1.26 1.26.10-1, etcd-server 3.5.30-2.
