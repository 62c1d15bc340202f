#!/usr/bin/env bash
# start.sh FOLDER: makes the certificates, then becomes the server (in the foreground, so its pid is this script's).
# Prints READY and the issuer once it listens. INTEROP_STATE: the folder for keys, certificates and addresses.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export MODULES=$1/node_modules
bash "$here/certificates.sh" "$INTEROP_STATE"
NODE_NO_WARNINGS=1 exec node "$here/server.mjs"
