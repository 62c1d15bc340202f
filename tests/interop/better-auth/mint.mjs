// Takes tokens of every kind from the running server, as an application would, and writes them to tokens.json.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { createHash, randomBytes } from 'node:crypto';

const file = (name) => path.join(process.env.INTEROP_STATE, name);
const read = (name) => JSON.parse(fs.readFileSync(file(name), 'utf8'));
const { audience, other, user, clients } = read('clients.json');
const issuer = read('server.json').issuers.http;
const origin = new URL(issuer).origin;

async function post(endpoint, members) {
  const credentials = Buffer.from(`${clients.app.id}:${clients.app.secret}`).toString('base64');
  const response = await fetch(`${issuer}/oauth2/${endpoint}`, {
    method: 'POST',
    headers: { authorization: `Basic ${credentials}` },
    body: new URLSearchParams(members),
    signal: AbortSignal.timeout(20_000),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${endpoint}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : {};
}

async function machine(members) {
  return (await post('token', { grant_type: 'client_credentials', scope: 'read', ...members })).access_token;
}

async function cookiesOfUser() {
  const response = await fetch(`${issuer}/sign-in/email`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', origin },
    body: JSON.stringify(user),
    signal: AbortSignal.timeout(20_000),
  });
  return response.headers.getSetCookie().map((cookie) => cookie.split(';')[0]).join('; ');
}

// The authorization code flow of the user; gives the whole response of the token endpoint.
async function userTokens(members) {
  const verifier = randomBytes(32).toString('base64url');
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: clients.app.id,
    redirect_uri: 'https://client.example.test/cb',
    scope: 'openid offline_access read',
    state: 'state',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...members,
  });
  const response = await fetch(`${issuer}/oauth2/authorize?${query}`, {
    headers: { cookie: await cookiesOfUser() },
    redirect: 'manual',
    signal: AbortSignal.timeout(20_000),
  });
  // A page gets a redirect, and a script its URL.
  const text = await response.text();
  const code = response.ok && new URL(JSON.parse(text).url).searchParams.get('code');
  if (!code) throw new Error(`no code: ${response.status} ${text}`);
  return post('token', {
    grant_type: 'authorization_code',
    code,
    redirect_uri: 'https://client.example.test/cb',
    code_verifier: verifier,
    ...members,
  });
}

async function revoked() {
  const token = await machine();
  await post('revoke', { token });
  return token;
}

const alice = await userTokens({ resource: audience });
const tokens = {
  'opaque-no-aud': await machine(),
  'opaque-revoked': await revoked(),
  'jwt-valid': await machine({ resource: audience }),
  'jwt-write': await machine({ resource: audience, scope: 'read write' }),
  'jwt-wrong-aud': await machine({ resource: other }),
  'user-jwt': alice.access_token,
  'user-refresh': alice.refresh_token,
  'user-id': alice.id_token,
};
const missing = Object.keys(tokens).filter((name) => !tokens[name]);
if (missing.length) throw new Error(`not issued: ${missing}`);

const of = (member) => Object.fromEntries(Object.entries(clients).map(([name, one]) => [name, one[member]]));
const everything = { audience, ids: of('id'), secrets: of('secret'), tokens };
fs.writeFileSync(file('tokens.json'), JSON.stringify(everything, null, 1), { mode: 0o600 });
