#!/usr/bin/env bash
# certificates.sh FOLDER: a private CA with a server certificate and two client certificates, one self-signed client
# certificate, and one by a CA that nobody trusts.
set -euo pipefail
cd "$1"

new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)

quietly() {
  local output
  if ! output=$(openssl "$@" 2>&1); then
    printf 'openssl %s failed:\n%s\n' "$1" "$output" >&2
    return 1
  fi
}

authority() { # file, common name
  quietly req -x509 "${new_key[@]}" -keyout "$1.key" -out "$1.pem" -days 30 -subj "/CN=$2" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
}

leaf() { # file, common name, extensions, file of the CA
  quietly req "${new_key[@]}" -keyout "$1.key" -out "$1.csr" -subj "/CN=$2"
  printf '%s\n' "basicConstraints=CA:FALSE" "keyUsage=critical,digitalSignature" "$3" >"$1.ext"
  quietly x509 -req -in "$1.csr" -CA "$4.pem" -CAkey "$4.key" -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.pem"
  rm -f "$1.csr" "$1.ext"
}

umask 077
authority ca "interop test CA"
authority other-ca "another interop test CA"
leaf server localhost $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1' ca
leaf client-ca app-mtls-ca extendedKeyUsage=clientAuth ca
leaf client-rs rs-mtls-ca extendedKeyUsage=clientAuth ca
leaf client-otherca app-mtls-ca extendedKeyUsage=clientAuth other-ca
quietly req -x509 "${new_key[@]}" -keyout client-selfsigned.key -out client-selfsigned.pem -days 30 \
  -subj "/CN=app-mtls-self"
