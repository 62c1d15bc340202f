// Takes tokens of every kind from the running server, as an application would, and writes them to tokens.json.
import * as crypto from 'node:crypto';
import * as https from 'node:https';
import { read, readJson, writeJson } from './state.mjs';
import { API } from './provider.mjs';
import { jose } from './modules.mjs';

const server = readJson('server.json');
const registered = readJson('clients.json');
const ROOT = server.issuers.http;
const formType = { 'content-type': 'application/x-www-form-urlencoded' };

function form(members) {
  const given = Object.entries(members).filter(([, value]) => value !== undefined);
  return new URLSearchParams(Object.fromEntries(given)).toString();
}

function basic(id) {
  const { client_secret: secret } = registered.find((one) => one.client_id === id);
  return `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64')}`;
}

const grant = (resource, more) =>
  form({ grant_type: 'client_credentials', scope: 'read', resource: resource && `${API}/${resource}`, ...more });

function tokenOf(what, answer) {
  if (!answer.access_token) throw new Error(`no token for ${what}: ${JSON.stringify(answer)}`);
  return answer.access_token;
}

async function token(client, resource, { base = ROOT, headers = {}, scope } = {}) {
  const response = await fetch(`${base}/token`, {
    method: 'POST',
    headers: { ...formType, authorization: basic(client), ...headers },
    body: grant(resource, scope && { scope }),
  });
  return tokenOf(`${client} ${resource}`, await response.json());
}

// A token that is bound to the client certificate `name` (RFC 8705).
function boundToken(client, name, resource) {
  const body = grant(resource, { client_id: client });
  const options = {
    method: 'POST',
    ca: read('ca.pem'),
    cert: read(`${name}.pem`),
    key: read(`${name}.key`),
    headers: { ...formType, 'content-length': body.length },
  };
  return new Promise((resolve, reject) => {
    const request = https.request(`${server.mtls_base}/token`, options, async (response) => {
      let answer = '';
      for await (const chunk of response) answer += chunk;
      try {
        resolve(tokenOf(client, JSON.parse(answer)));
      } catch (error) {
        reject(error);
      }
    });
    request.on('error', reject);
    request.end(body);
  });
}

// A token that is bound to a DPoP key (RFC 9449).
const dpopKey = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
async function dpopToken(resource) {
  const proof = await new jose.SignJWT({ htm: 'POST', htu: `${ROOT}/token`, jti: crypto.randomUUID() })
    .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk: dpopKey.publicKey.export({ format: 'jwk' }) })
    .setIssuedAt()
    .sign(dpopKey.privateKey);
  return token('app-dpop', resource, { headers: { dpop: proof } });
}

async function userToken(query) {
  const response = await fetch(`${ROOT}/__admin/user-token?${form({ sub: 'alice', ...query })}`);
  return tokenOf('alice', await response.json());
}

async function revoked() {
  const given = await token('app', 'opaque');
  const headers = { ...formType, authorization: basic('app') };
  const response = await fetch(`${ROOT}/token/revocation`, { method: 'POST', headers, body: form({ token: given }) });
  if (response.status !== 200) throw new Error(`revocation: ${response.status}`);
  return given;
}

const tokens = {
  'opaque-valid': await token('app', 'opaque'),
  'opaque-no-aud': await token('app'),
  'opaque-wrong-aud': await token('app', 'opaque-wrong-aud'),
  'opaque-write': await token('app', 'opaque', { scope: 'write' }),
  'opaque-expired': await token('app', 'opaque-short'),
  'opaque-revoked': await revoked(),
  'opaque-path-issuer': await token('app', 'opaque', { base: server.issuers.path }),
  'opaque-slash-issuer': await token('app', 'opaque', { base: server.issuers.slash.replace(/\/$/, '') }),
  'jwt-expired': await token('app', 'rs256-short'),
  'jwt-wrong-aud': await token('app', 'es256-wrong-aud'),
  'jwt-encrypted': await token('app', 'es256-jwe'),
  'jwt-path-issuer': await token('app', 'es256', { base: server.issuers.path }),
  'jwt-slash-issuer': await token('app', 'es256', { base: server.issuers.slash.replace(/\/$/, '') }),
  'dpop-opaque': await dpopToken('opaque'),
  'dpop-jwt': await dpopToken('es256'),
  'mtls-self-opaque': await boundToken('app-mtls-self', 'client-selfsigned', 'opaque'),
  'mtls-self-jwt': await boundToken('app-mtls-self', 'client-selfsigned', 'es256'),
  'mtls-ca-opaque': await boundToken('app-mtls-ca', 'client-ca', 'opaque'),
  'mtls-ca-jwt': await boundToken('app-mtls-ca', 'client-ca', 'es256'),
  'user-opaque': await userToken({ resource: `${API}/opaque` }),
  'user-jwt': await userToken({ resource: `${API}/rs256` }),
  'https-issuer-opaque': await userToken({ issuer: 'https', resource: `${API}/opaque` }),
  'https-issuer-jwt': await userToken({ issuer: 'https', resource: `${API}/es256` }),
};
for (const alg of ['rs256', 'ps256', 'es256', 'es384', 'eddsa', 'ed25519', 'hs256']) {
  tokens[`jwt-${alg}`] = await token('app', alg);
}
await new Promise((resolve) => setTimeout(resolve, 2600)); // the two short-lived ones run out

const resourceServers = registered.filter((one) => one.client_id.startsWith('rs'));
const credentials = resourceServers.map((one) => [one.client_id, one.client_secret]);
writeJson('tokens.json', { audience: API, secrets: Object.fromEntries(credentials), tokens });
