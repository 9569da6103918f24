#!/usr/bin/env bash
# Writes every generated file anew: in each folder a program generate.ts does it for the files of that folder.
set -euo pipefail
cd "$(dirname "$0")/.."
node=$(scripts/node-path.sh)
for generator in $(git ls-files --cached --others --exclude-standard -- '*/generate.ts'); do
  "$node" "$generator"
done
