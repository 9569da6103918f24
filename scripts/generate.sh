#!/usr/bin/env bash
# Writes every generated file anew: each generator is a program named generate-*.ts beside what it reads, run without arguments.
set -euo pipefail
cd "$(dirname "$0")/.."
node=$(scripts/node-path.sh)
for generator in $(git ls-files --cached --others --exclude-standard -- '*/generate-*.ts' | grep -v '\.test\.ts$'); do
  "$node" "$generator"
done
