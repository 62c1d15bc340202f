#!/usr/bin/env bash
# mint.sh FOLDER: takes tokens of every kind from the running server and writes INTEROP_STATE/tokens.json.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
exec node "$here/mint.mjs"
