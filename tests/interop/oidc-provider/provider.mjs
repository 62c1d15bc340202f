// The product's configuration: features, and the resources whose indicator picks the shape of a token.
import * as crypto from 'node:crypto';
import { publicPart } from './keys.mjs';

export const API = 'https://api.example.test';

const signed = (alg, more) => ({ jwt: { sign: { alg } }, ...more });
const macKey = Buffer.from('0123456789abcdef0123456789abcdef0123456789abcdef');

// The path under API -> what the product calls resource server information.
const resources = (encryption) => ({
  '/opaque': { accessTokenFormat: 'opaque' },
  '/opaque-short': { accessTokenFormat: 'opaque', accessTokenTTL: 2 },
  '/opaque-wrong-aud': { accessTokenFormat: 'opaque', audience: 'https://other.example.test' },
  '/rs256': signed('RS256'),
  '/ps256': signed('PS256'),
  '/es256': signed('ES256'),
  '/es384': signed('ES384'),
  '/eddsa': signed('EdDSA'),
  '/ed25519': signed('Ed25519'),
  '/hs256': { jwt: { sign: { alg: 'HS256', key: macKey } } },
  '/rs256-short': signed('RS256', { accessTokenTTL: 2 }),
  '/es256-wrong-aud': signed('ES256', { audience: 'https://other.example.test' }),
  '/es256-jwe': {
    jwt: {
      sign: { alg: 'ES256' },
      encrypt: {
        alg: 'RSA-OAEP',
        enc: 'A128CBC-HS256',
        kid: encryption.kid,
        key: crypto.createPublicKey({ key: publicPart(encryption), format: 'jwk' }),
      },
    },
  },
});

export function resourceServerInfo(encryption, resource) {
  const info = resource.startsWith(API) && resources(encryption)[resource.slice(API.length)];
  if (!info) throw new Error(`unknown resource ${resource}`);
  return { scope: 'read write', audience: API, accessTokenFormat: 'jwt', accessTokenTTL: 3600, ...info };
}

const mtlsAliases = (base) => ({
  mtls_endpoint_aliases: {
    token_endpoint: `${base}/token`,
    introspection_endpoint: `${base}/token/introspection`,
    revocation_endpoint: `${base}/token/revocation`,
  },
});

const peerCertificate = (ctx) => ctx.socket.getPeerX509Certificate?.();
const lifetime = (ctx, token) => token.resourceServer?.accessTokenTTL ?? 3600;

export const configuration = ({ clients, jwks, encryption, mtlsBase }) => ({
  clients,
  jwks,
  scopes: ['read', 'write'],
  clientAuthMethods: [
    'client_secret_basic',
    'client_secret_post',
    'client_secret_jwt',
    'private_key_jwt',
    'tls_client_auth',
    'self_signed_tls_client_auth',
    'none',
  ],
  enabledJWA: {
    clientAuthSigningAlgValues: ['HS256', 'RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519'],
    introspectionSigningAlgValues: ['HS256', 'RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519'],
    introspectionEncryptionAlgValues: ['RSA-OAEP', 'RSA-OAEP-256'],
    introspectionEncryptionEncValues: ['A128CBC-HS256', 'A256GCM'],
    dPoPSigningAlgValues: ['ES256', 'RS256', 'EdDSA', 'Ed25519'],
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    jwtIntrospection: { enabled: true },
    revocation: { enabled: true },
    backchannelLogout: { enabled: true },
    encryption: { enabled: true },
    dPoP: { enabled: true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      selfSignedTlsClientAuth: true,
      tlsClientAuth: true,
      getCertificate: peerCertificate,
      certificateAuthorized: (ctx) => ctx.socket.authorized === true,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_subject_dn' && peerCertificate(ctx)?.subject === expected,
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined, // no resource asked for: an opaque token without aud
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => resourceServerInfo(encryption, resource),
    },
  },
  ttl: { ClientCredentials: lifetime, AccessToken: lifetime },
  // By default, the product sends nothing to loopback addresses.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  // The product does not put `sid` into access tokens, and overwrites it in introspection responses with that of the
  // token, which access tokens do not have. Therefore opaque tokens need `session_state`.
  extraTokenClaims: (ctx, token) => ({
    groups: ['staff', 'ops'],
    tenant: 't-1',
    amr_level: 2,
    ...(token.sessionUid && { sid: token.sessionUid, session_state: token.sessionUid }),
  }),
  findAccount: (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  ...(mtlsBase && { discovery: mtlsAliases(mtlsBase) }),
});
