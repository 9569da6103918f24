#!/usr/bin/env bash
# Types, typed ESLint, the format of TypeScript and of C: `lint.sh [--fix]`. Everything is checked before it fails, so that one
# run shows all there is to mend. clang-format is used where it is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/progress.sh
node=$(scripts/node-path.sh)
export PATH="${node%/*}:$PATH"
mkdir -p build/lint

prettier_mode=--check clang_mode=(--dry-run --Werror) eslint_mode=()
if [ "${1:-}" = --fix ]; then prettier_mode=--write clang_mode=(-i) eslint_mode=(--fix); fi

failed=()
check() {
  local what=$1
  shift
  "$@" || failed+=("$what")
}
check prettier "$node" node_modules/prettier/bin/prettier.cjs "$prettier_mode" --log-level warn --cache --cache-location build/lint/prettier .
# ESLint reads types itself; beside the compiler it keeps both cores busy.
"$node" node_modules/typescript/bin/tsc -p . --incremental --tsBuildInfoFile build/lint/types & compiler=$!
check eslint "$node" node_modules/eslint/bin/eslint.js "${eslint_mode[@]}" --max-warnings 0 .
check types wait "$compiler"
# The page knows another world: a browser's, and no Node.
check 'types of the page' "$node" node_modules/typescript/bin/tsc -p dashboard --incremental --tsBuildInfoFile build/lint/page-types
if command -v clang-format >/dev/null; then
  mapfile -t sources < <(git ls-files --cached --others --exclude-standard -- '*.c' '*.h' '*.cc')
  if [ ${#sources[@]} -gt 0 ]; then check clang-format clang-format "${clang_mode[@]}" "${sources[@]}"; fi
else
  say 'clang-format is not installed: the format of C was not checked'
fi
[ ${#failed[@]} -eq 0 ] || fail "failed: ${failed[*]} ('make format' mends what is only format)"
