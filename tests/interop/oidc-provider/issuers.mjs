// One product instance for each kind of issuer, and the way from a request's path to it.
import * as crypto from 'node:crypto';
import { writeJson, file } from './state.mjs';
import { clients } from './clients.mjs';
import { encryptionKey, keySet, signingKey } from './keys.mjs';
import { configuration, resourceServerInfo } from './provider.mjs';
import { Provider, ResourceServer, jose, loadKeys } from './modules.mjs';

const clientKeys = {
  keys: ['ES256', 'RS256', 'PS256', 'EdDSA'].map((alg) => signingKey(alg, `client-${alg.toLowerCase()}`)),
};
const encryption = encryptionKey('rs-enc');
const registered = clients(clientKeys, encryption);
writeJson('client-jwks.json', clientKeys);
writeJson('clients.json', registered);

const firstKeys = keySet(1);
let published = firstKeys;
let generation = 1;
let issuers = {};

export function open({ http, https, mtls }) {
  issuers = {
    http: { issuer: `http://127.0.0.1:${http}`, mount: '' },
    path: { issuer: `http://127.0.0.1:${http}/tenant/a`, mount: '/tenant/a' },
    slash: { issuer: `http://127.0.0.1:${http}/tenant/b/`, mount: '/tenant/b' },
    https: { issuer: `https://localhost:${https}`, mount: '', mtlsBase: `https://localhost:${mtls}` },
  };
  for (const one of Object.values(issuers)) {
    one.provider = new Provider(
      one.issuer,
      configuration({ clients: registered, jwks: structuredClone(published), encryption, mtlsBase: one.mtlsBase }),
    );
    one.provider.on('server_error', (ctx, error) => console.error('server_error', error));
    one.callback = one.provider.callback();
  }
  writeJson('server.json', {
    issuers: Object.fromEntries(Object.entries(issuers).map(([name, { issuer }]) => [name, issuer])),
    mtls_base: issuers.https.mtlsBase,
    ca: file('ca.pem'),
  });
  return issuers.http.issuer;
}

// mode=add: the old keys stay published; replace: they go at once; same_kid: new keys under the old names.
export function rotate(mode) {
  if (!['add', 'replace', 'same_kid'].includes(mode)) throw new Error(`unknown mode ${mode}`);
  generation += 1;
  const fresh = keySet(mode === 'same_kid' ? 1 : generation);
  publish(mode === 'add' ? { keys: [...fresh.keys, ...published.keys] } : fresh);
  return published.keys.map((key) => key.kid);
}

export function restoreKeys() {
  if (published !== firstKeys) publish(firstKeys);
}

function publish(keys) {
  published = keys;
  for (const { provider } of Object.values(issuers)) loadKeys.call(provider, structuredClone(keys));
}

// A user's access token (it has a `sub`), as an authorization code flow would end with.
export async function userToken({ issuer = 'http', sub = 'alice', scope = 'read', resource, sid }) {
  const { provider } = issuers[issuer];
  const found = await provider.Client.find('app');
  const grant = new provider.Grant({ accountId: sub, clientId: found.clientId });
  grant.addOIDCScope('read write');
  if (resource) grant.addResourceScope(resource, 'read write');
  const token = new provider.AccessToken({
    accountId: sub,
    client: found,
    grantId: await grant.save(3600),
    gty: 'authorization_code',
    scope,
    sessionUid: sid,
  });
  if (resource) token.resourceServer = new ResourceServer(resource, resourceServerInfo(encryption, resource));
  return token.save(3600);
}

// The product's logout token for the client `app`, posted to this address. It has a `sid` if there is one.
export async function logout({ uri, sub, sid }) {
  const client = await issuers.http.provider.Client.find('app');
  client.backchannelLogoutUri = uri;
  client.backchannelLogoutSessionRequired = sid !== undefined;
  await client.backchannelLogout(sub, sid);
}

// A security event token, signed by jose with a published key, posted to this address. Returns the status.
export async function pushEvent({ uri, audience, alg = 'ES256', sub }) {
  const jwk = published.keys.find((key) => key.kid.startsWith(alg.toLowerCase()));
  const { issuer } = issuers.http;
  const event = { event_timestamp: Math.floor(Date.now() / 1000) };
  const set = await new jose.SignJWT({
    sub_id: { format: 'iss_sub', iss: issuer, sub },
    events: { 'https://schemas.openid.net/secevent/caep/event-type/session-revoked': event },
  })
    .setProtectedHeader({ alg, kid: jwk.kid, typ: 'secevent+jwt' })
    .setIssuer(issuer)
    .setAudience(audience)
    .setIssuedAt()
    .setJti(crypto.randomUUID())
    .sign(await jose.importJWK(jwk, alg));
  const headers = { 'content-type': 'application/secevent+jwt' };
  const response = await fetch(uri, { method: 'POST', headers, body: set });
  return response.status;
}

// Hands the request to the issuer whose mount its path lies under; `names` are the issuers of this listener, the one
// at the root last.
export function route(names, request, response) {
  const { pathname } = new URL(request.url, 'http://any');
  // RFC 8414 section 3.1: the well-known part stands between host and path. The product leaves that to its host.
  const wellKnown = /^\/\.well-known\/(oauth-authorization-server|openid-configuration)(\/.+)$/.exec(pathname);
  for (const name of names) {
    const { mount, callback } = issuers[name];
    if (!mount) return callback(request, response);
    if (wellKnown && wellKnown[2].replace(/\/$/, '') === mount) {
      request.url = `/.well-known/${wellKnown[1]}`;
      request.originalUrl = mount + request.url;
      return callback(request, response);
    }
    if (pathname.startsWith(`${mount}/`)) {
      request.originalUrl = request.url;
      request.url = request.url.slice(mount.length);
      return callback(request, response);
    }
  }
}
