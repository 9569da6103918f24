#!/usr/bin/env bash
# Runs the benchmarks, bench/*.ts one after another (they measure time, so nothing runs beside them), and passes on the JSON
# lines that they print. `bench.sh [NAME...]` runs only those. Fails when one of them failed, after the others have run.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/progress.sh
. scripts/staging.sh
run_in_readable_copy scripts/bench.sh "$@"
node=$(scripts/node-path.sh)
export PATH="${node%/*}:$PATH"

names=("$@")
if [ ${#names[@]} -eq 0 ]; then
  for file in bench/*.ts; do
    name=$(basename "$file" .ts)
    # A benchmark is a program; what only helps others is in a folder of bench/.
    case $name in *.test | '*') ;; *) names+=("$name") ;; esac
  done
fi
failed=0
for name in "${names[@]}"; do
  [ -f "bench/$name.ts" ] || fail "there is no benchmark $name; there are: $(cd bench && echo *.ts | sed 's/\.ts//g')"
  say "running $name"
  # The keeper ends whatever the benchmark leaves behind, also when it is ended from outside.
  build/programs/keeper 0 "$node" "bench/$name.ts" || failed=1
done
exit "$failed"
