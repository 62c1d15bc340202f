#!/bin/sh
# run.sh [cors_spa|sse|dev_issuer|guide]: what a real browser shows.
#
# cors_spa    clicks through the example cors_spa and keeps a picture at target/browser/cors_spa.png (the default)
# sse         opens the page of the example sse, signs out, and looks at the end of its stream
# dev_issuer  logs in to the example cors_spa at the example dev_issuer, and revokes the token on its page
# guide       looks at every page of the guide, which `cargo doc --no-deps --all-features` renders
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

target=${CARGO_TARGET_DIR:-target}
case ${1:-cors_spa} in
cors_spa)
    cargo build --quiet --locked --example cors_spa
    exec python3 tests/browser/cors_spa.py "$target/debug/examples/cors_spa"
    ;;
sse)
    cargo build --quiet --locked --example sse
    exec python3 tests/browser/sse.py "$target/debug/examples/sse"
    ;;
dev_issuer)
    cargo build --quiet --locked --example dev_issuer --example cors_spa
    exec python3 tests/browser/dev_issuer.py "$target/debug/examples/dev_issuer" "$target/debug/examples/cors_spa"
    ;;
guide) exec python3 tests/browser/guide.py "$target/doc" ;;
*)
    echo "usage: run.sh [cors_spa|sse|dev_issuer|guide]" >&2
    exit 2
    ;;
esac
