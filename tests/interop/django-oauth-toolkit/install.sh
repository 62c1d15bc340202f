#!/usr/bin/env bash
# install.sh FOLDER: installs django-oauth-toolkit, exactly as requirements.txt pins it, into FOLDER/venv.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
home=$1
mkdir -p "$home"
cmp -s "$here/requirements.txt" "$home/installed" && exit 0
python3 -m venv --clear "$home/venv"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$here/requirements.txt"
cp "$here/requirements.txt" "$home/installed"
