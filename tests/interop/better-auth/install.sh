#!/usr/bin/env bash
# install.sh FOLDER: installs better-auth, exactly as package-lock.json pins it, into FOLDER/node_modules.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
home=$1
mkdir -p "$home"
cmp -s "$here/package-lock.json" "$home/installed" && exit 0
cp "$here/package.json" "$here/package-lock.json" "$home/"
(cd "$home" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error)
cp "$here/package-lock.json" "$home/installed"
