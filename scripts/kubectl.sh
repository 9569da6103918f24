#!/usr/bin/env bash
# Brings the unmodified kubectl, once a machine, and prints its path: Debian sid's, unpacked into the cache beside the system.
# The tests run it against Muster's own API server; a kubectl that the machine has is not used, since it may be of any age.
set -euo pipefail
cd "$(dirname "$0")"
. ./progress.sh
. ./debian.sh

debian_program kubectl sid kubectl usr/bin/kubectl 16 version --client
