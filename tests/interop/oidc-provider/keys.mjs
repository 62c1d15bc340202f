// Key material of the authorization server and of its clients.
import * as crypto from 'node:crypto';

export const SIGNING_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'];

const pairs = {
  RS256: () => crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
  PS256: () => crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: () => crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: () => crypto.generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  EdDSA: () => crypto.generateKeyPairSync('ed25519'),
};

export function signingKey(alg, kid) {
  const jwk = { ...pairs[alg]().privateKey.export({ format: 'jwk' }), kid, use: 'sig' };
  // Without "alg", the server signs with the Ed25519 key as EdDSA (RFC 8037) and as Ed25519 (RFC 9864).
  return alg === 'EdDSA' ? jwk : { ...jwk, alg };
}

export function encryptionKey(kid) {
  const { privateKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid, use: 'enc', alg: 'RSA-OAEP' };
}

export const keySet = (generation) => ({
  keys: SIGNING_ALGORITHMS.map((alg) => signingKey(alg, `${alg.toLowerCase()}-${generation}`)),
});

export const publicPart = ({ d, p, q, dp, dq, qi, ...rest }) => rest;
