#!/bin/sh
# Clicks through the example cors_spa with a real browser and keeps a picture at target/browser/cors_spa.png.
#
# Needs chromium, chromedriver and python3 (Debian: apt-get install chromium chromium-driver python3).
set -eu
cd "$(dirname "$0")/../.."

for tool in chromium chromedriver python3; do
    if ! command -v "$tool" >/dev/null; then
        echo "$tool is missing: apt-get install chromium chromium-driver python3" >&2
        exit 1
    fi
done

cargo build --quiet --example cors_spa
exec python3 tests/browser/cors_spa.py "${CARGO_TARGET_DIR:-target}/debug/examples/cors_spa"
