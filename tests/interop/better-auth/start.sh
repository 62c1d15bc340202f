#!/usr/bin/env bash
# start.sh FOLDER: becomes the server (in the foreground, so its pid is this script's). Prints READY and the issuer once it
# listens. INTEROP_STATE: the folder for addresses and credentials. The file is copied, because Node finds the packages
# next to it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cp "$here/server.mjs" "$1/server.mjs"
BETTER_AUTH_TELEMETRY=0 NODE_ENV=production exec node "$1/server.mjs"
