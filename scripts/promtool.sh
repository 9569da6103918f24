#!/usr/bin/env bash
# Brings promtool, once a machine, and prints its path: Debian bookworm's, unpacked into the cache beside the system. The tests check
# with it the chart's rules, and what controllers and agents tell Prometheus.
set -euo pipefail
cd "$(dirname "$0")"
. ./progress.sh
. ./debian.sh

debian_program promtool bookworm prometheus usr/bin/promtool 19 --version
