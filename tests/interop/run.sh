#!/usr/bin/env bash
# run.sh [oidc-provider|django-oauth-toolkit|better-auth|all]: the tests in this folder against real authorization servers.
#
# Installs the pinned server under INTEROP_HOME (default: target/interop of this checkout), starts it on free loopback
# ports, takes tokens from it, runs the tests that fit, and stops it again whatever happens. Ends with the tests' exit
# code. Needs openssl, and Node 20.12 with npm for oidc-provider and better-auth, or Python 3.10 with venv for
# django-oauth-toolkit; a missing one is a failure, not a skip.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
mkdir -p "${INTEROP_HOME:=$root/target/interop}"
INTEROP_HOME=$(cd "$INTEROP_HOME" && pwd)

main() {
  case ${1:-all} in
    oidc-provider | django-oauth-toolkit | better-auth) suites=("$1") ;;
    all) suites=(oidc-provider django-oauth-toolkit better-auth) ;;
    *) die "usage: run.sh [oidc-provider|django-oauth-toolkit|better-auth|all]" ;;
  esac
  for suite in "${suites[@]}"; do need_tools "$suite"; done
  # Before SSL_CERT_FILE names the private CA, since a build may have to fetch crates.
  (cd "$root" && cargo test --locked --test interop --no-run)

  local failed=0
  for suite in "${suites[@]}"; do
    local code=0
    bash "${BASH_SOURCE[0]}" --one "$suite" || code=$?
    [ "$code" = 0 ] || { echo "interop: $suite failed with $code" >&2; failed=$code; }
  done
  return "$failed"
}

need_tools() {
  local tools=(cargo openssl)
  case $1 in
    oidc-provider | better-auth) tools+=(node npm) ;;
    django-oauth-toolkit) tools+=(python3) ;;
  esac
  for tool in "${tools[@]}"; do
    command -v "$tool" >/dev/null || die "$1 needs $tool, which is not installed"
  done
  if [ "$1" != django-oauth-toolkit ]; then
    node -e 'process.exit(typeof require("crypto").hash === "function" ? 0 : 1)' ||
      die "$1 needs Node 20.12 or later, this is $(node --version)"
  else
    python3 -c 'import venv, ensurepip' || die "$1 needs python3 with venv"
  fi
}

# Runs in a process of its own, so that its trap is its own.
one() {
  server=$1
  home=$INTEROP_HOME/$server
  echo "interop: installing $server"
  timeout 600 bash "$here/$server/install.sh" "$home" || die "$server cannot be installed"

  # Before there is anything to clean up, so that nothing is left behind.
  pid='' log=/dev/null INTEROP_STATE=''
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  INTEROP_STATE=$(mktemp -d "$home/state.XXXXXX")
  export INTEROP_STATE INTEROP_SERVER=$server INTEROP_TOKENS=$INTEROP_STATE/tokens.json
  log=$INTEROP_STATE/server.log
  bash "$here/$server/start.sh" "$home" >"$log" 2>&1 &
  pid=$!
  await_ready
  timeout 120 bash "$here/$server/mint.sh" "$home" || die "no tokens from $server"
  run_tests
}

await_ready() {
  local deadline=$((SECONDS + 60))
  until grep -qs '^READY ' "$log"; do
    kill -0 "$pid" 2>/dev/null || die "$server ended before it was ready"
    ((SECONDS < deadline)) || die "$server was not ready within 60 s"
    sleep 0.1
  done
  echo "interop: $server at $(sed -n 's/^READY //p' "$log")"
}

run_tests() {
  cd "$root"
  local module=${server//-/_}::
  if [ -f "$INTEROP_STATE/ca.pem" ]; then export SSL_CERT_FILE=$INTEROP_STATE/ca.pem; fi
  local listed
  listed=$(cargo test --quiet --locked --test interop -- --list "$module" | grep -c ": test$") ||
    die "no tests for $server"
  echo "interop: $listed tests against $server"
  timeout 900 cargo test --locked --test interop -- --test-threads=1 "$module"
}

clean_up() {
  local code=$?
  trap - EXIT
  if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then
    kill "$pid"
    wait "$pid" 2>/dev/null || true
  fi
  if [ "$code" != 0 ]; then
    echo "--- the end of the log of $server ---" >&2
    tail -n 40 "$log" >&2
  fi
  if [ -n "$INTEROP_STATE" ]; then rm -rf "$INTEROP_STATE"; fi
  exit "$code"
}

die() {
  echo "interop: $*" >&2
  exit 1
}

if [ "${1:-}" = --one ]; then one "$2"; else main "$@"; fi
