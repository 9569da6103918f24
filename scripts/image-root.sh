#!/usr/bin/env bash
# Puts together what an image of Muster holds of ours: `image-root.sh DIR` makes DIR, which becomes /opt/muster there. For the
# Dockerfile, and for the tests, which run the same files in a container without Docker. Needs `make build`.
#   MUSTER_IMAGE_CRIU=no   leaves CRIU out
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/progress.sh

target=${1:?directory}
[ -e build/dist/muster.mjs ] || fail "nothing is built: run 'make build'"
rm -rf "$target"
mkdir -p "$target"/{build/dist,build/native,build/page,wire}
cp -P bin/muster bin/kubectl-muster --target-directory "$(mkdir -p "$target/bin" && echo "$target/bin")"
cp build/dist/*.mjs "$target/build/dist/"
cp build/native/{carrier-wait,criu-beside.so,engine,front,launch,muster.node,pager,rank-init,tracker} "$target/build/native/"
cp build/page/{icon.svg,index.html,page.js,style.css} "$target/build/page/"
cp package.json "$target/"
cp wire/agent.proto "$target/wire/"
node=$(scripts/node-path.sh)
case $node in
  "$PWD"/*) place=$target/${node#"$PWD"/} ;;
  *) place=$target/node_modules/node-linux-$([ "$(uname -m)" = aarch64 ] && echo arm64 || echo x64)/bin/node ;;
esac
mkdir -p "${place%/*}"
cp "$(readlink -f "$node")" "$place"
if [ "${MUSTER_IMAGE_CRIU:-yes}" != no ]; then
  scripts/criu.sh >/dev/null
  cp -rL build/criu "$target/build/criu"
fi
