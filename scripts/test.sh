#!/usr/bin/env bash
# Runs the tests and ends with the line `tests: N passed, N failed, N skipped`, whatever happened: `test.sh [FILTER...]`,
# a filter being a part of a file's path. Fails when a test failed, when a file could not be loaded, and when no test ran.
# After MUSTER_TEST_SECONDS, if set, the tests are ended, and what had not finished has failed. With MUSTER_TEST_RESULT the last
# line goes to that file instead.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/staging.sh
run_in_readable_copy scripts/test.sh "$@"
mkdir -p build
work=$(mktemp -d build/test-run.XXXXXX)
beside= server=
trap 'kill $beside $server 2>/dev/null || true; rm -rf "$work"' EXIT
# Tests must not find the cluster, or the job, of whoever runs them.
unset MUSTER_HOME MUSTER_RANK PMI_RANK PMI_SIZE PMI_FD MPIEXEC_TIMEOUT
node=$(scripts/node-path.sh)
export PATH="${node%/*}:$PATH"

# `vitest NAME [ARGUMENT...]`: a run whose counts go to the file NAME. The keeper ends the tests at their limit, and whatever they leave
# behind, so that no test waits for another's rest.
vitest() {
  exec env MUSTER_TEST_COUNTS="$PWD/$work/$1" build/programs/keeper "${MUSTER_TEST_SECONDS:-0}" \
    "$node" node_modules/vitest/vitest.mjs run --reporter=default --reporter=./scripts/test-summary.ts "${@:2}" </dev/null
}

status=0
if [ "$#" -gt 0 ]; then
  (vitest main "$@") || status=1
else
  # Beside the others run those that mostly wait, for a Kubernetes cluster whose parts take long to build where they are not cached.
  build/programs/keeper 0 sh -c 'scripts/kube-apiserver.sh; scripts/kubelet.sh || true' >/dev/null &
  server=$!
  vitest beside --project model --project kube --project pods >"$work/output" 2>&1 &
  beside=$!
  (vitest main --project unit --project system) || status=1
  wait "$beside" || status=1
  beside=
  cat "$work/output"
fi

passed=0 failed=0 skipped=0
for name in main beside; do
  [ "$name" = main ] || [ "$#" -eq 0 ] || continue
  # Without counts vitest itself broke before it could count.
  read -r p f s <"$work/$name" || { p=0 f=1 s=0; }
  tail -n +2 "$work/$name" || true
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done 2>/dev/null
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
if [ "$((passed + failed))" -eq 0 ]; then
  echo 'no test ran'
  failed=1
fi
line="tests: $passed passed, $failed failed, $skipped skipped"
if [ -n "${MUSTER_TEST_RESULT:-}" ]; then echo "$line" >"$MUSTER_TEST_RESULT"; else echo "$line"; fi
[ "$failed" -eq 0 ]
