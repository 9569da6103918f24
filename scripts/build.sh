#!/usr/bin/env bash
# Builds Muster in the checkout: the native programs into build/native, the bundle into build/dist, the web page into build/page, bin/muster, and the same as a
# plugin of kubectl. Each step finds out itself what is old. bin/muster is the thin C front where it was built (it starts jobs
# without starting Node and runs the Node CLI for everything else), and a shell script that runs the Node CLI where it was not.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/progress.sh
node=$(scripts/node-path.sh)

mkdir -p build bin
if [ -f native/Makefile ]; then make --silent -C native -j "$(nproc)"; fi
if [ -f cli/main.ts ]; then "$node" scripts/bundle.ts; fi
if [ -f dashboard/main.tsx ]; then "$node" scripts/bundle-page.ts; fi

if [ -x build/native/front ]; then
  ln -sfn ../build/native/front bin/muster
  ln -sfn muster bin/kubectl-muster
elif [ -f build/dist/muster.mjs ]; then
  rm -f bin/muster bin/kubectl-muster
  cat >bin/muster <<'END'
#!/bin/sh
root=$(dirname "$(dirname "$(readlink -f "$0")")")
exec "$("$root/scripts/node-path.sh")" "$root/build/dist/muster.mjs" "$@"
END
  printf '#!/bin/sh\nMUSTER_AS_PLUGIN=1 exec "$(dirname "$(readlink -f "$0")")/muster" "$@"\n' >bin/kubectl-muster
  chmod +x bin/muster bin/kubectl-muster
fi
