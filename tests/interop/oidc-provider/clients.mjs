// The registered clients: `app…` get tokens, `rs…` are resource servers that ask for introspection.
import * as crypto from 'node:crypto';
import { read } from './state.mjs';
import { publicPart } from './keys.mjs';

const secret = (id) => `${id}-secret-0123456789abcdef0123456789abcdef`;
const withSecret = (id, method) => ({
  client_id: id,
  client_secret: secret(id),
  token_endpoint_auth_method: method,
});

const app = {
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  scope: 'read write',
};
const resourceServer = { grant_types: [], redirect_uris: [], response_types: [] };

// The JWK set of a client that shows a self-signed certificate.
function selfSignedKeys(pem) {
  const certificate = new crypto.X509Certificate(read(pem));
  const jwk = certificate.publicKey.export({ format: 'jwk' });
  return { keys: [{ ...jwk, x5c: [certificate.raw.toString('base64')], kid: 'self' }] };
}

export const clients = (clientKeys, encryption) => [
  { ...app, ...withSecret('app', 'client_secret_basic') },
  { ...app, ...withSecret('app-dpop', 'client_secret_basic'), dpop_bound_access_tokens: true },
  {
    ...app,
    client_id: 'app-mtls-self',
    token_endpoint_auth_method: 'self_signed_tls_client_auth',
    tls_client_certificate_bound_access_tokens: true,
    jwks: selfSignedKeys('client-selfsigned.pem'),
  },
  {
    ...app,
    client_id: 'app-mtls-ca',
    token_endpoint_auth_method: 'tls_client_auth',
    tls_client_auth_subject_dn: 'CN=app-mtls-ca',
    tls_client_certificate_bound_access_tokens: true,
  },
  { ...resourceServer, ...withSecret('rs-basic', 'client_secret_basic') },
  { ...resourceServer, ...withSecret('rs-post', 'client_secret_post') },
  {
    // Both must be form-encoded inside HTTP Basic (RFC 6749 section 2.3.1).
    ...resourceServer,
    client_id: 'rs odd:id+1',
    client_secret: 'p%41ss+wo rd:/?&=~!*',
    token_endpoint_auth_method: 'client_secret_basic',
  },
  {
    ...resourceServer,
    ...withSecret('rs-secret-jwt', 'client_secret_jwt'),
    token_endpoint_auth_signing_alg: 'HS256',
  },
  {
    ...resourceServer,
    client_id: 'rs-private-key-jwt',
    token_endpoint_auth_method: 'private_key_jwt',
    jwks: { keys: clientKeys.keys.map(publicPart) },
  },
  {
    ...resourceServer,
    client_id: 'rs-mtls-ca',
    token_endpoint_auth_method: 'tls_client_auth',
    tls_client_auth_subject_dn: 'CN=rs-mtls-ca',
  },
  // These get introspection answers as JWTs (RFC 9701), the last one encrypted as well.
  ...['RS256', 'PS256', 'ES256', 'EdDSA', 'HS256'].map((alg) => ({
    ...resourceServer,
    ...withSecret(`rs-jwtresp-${alg.toLowerCase()}`, 'client_secret_basic'),
    introspection_signed_response_alg: alg,
  })),
  {
    ...resourceServer,
    ...withSecret('rs-jwtresp-enc', 'client_secret_basic'),
    introspection_signed_response_alg: 'RS256',
    introspection_encrypted_response_alg: 'RSA-OAEP',
    introspection_encrypted_response_enc: 'A128CBC-HS256',
    jwks: { keys: [publicPart(encryption)] },
  },
];
