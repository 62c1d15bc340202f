#!/usr/bin/env bash
# start.sh FOLDER: makes the signing key and the database, then becomes the server (in the foreground, so its pid is
# this script's). Prints READY and the issuer once it listens. INTEROP_STATE: the folder for database and addresses.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONDONTWRITEBYTECODE=1
umask 077
openssl genrsa -out "$INTEROP_STATE/oidc.pem" 2048 2>"$INTEROP_STATE/openssl.log" || {
  cat "$INTEROP_STATE/openssl.log" >&2
  exit 1
}
"$1/venv/bin/python" -W ignore "$here/server.py" setup
exec "$1/venv/bin/python" -W ignore "$here/server.py" serve
