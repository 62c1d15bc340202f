// npm oauth4webapi as a client that has only the addresses of APIs: challenge, metadata document (RFC 9728), metadata of the
// authorization server (RFC 8414), dynamic registration (RFC 7591), authorization code with PKCE and `resource` (RFC 8707), and a
// request that succeeds. Then step-up authentication (RFC 9470) and signed metadata (RFC 9728 section 2.2).
import { readFileSync } from 'node:fs';
import { compactVerify, importJWK } from 'jose';
import * as oauth from 'oauth4webapi';
import { browse, endpoint, expect, reporter } from './steps.mjs';

const api = process.env.INTEROP_API;
const REDIRECT = 'http://127.0.0.1:9/callback';
const insecure = { [oauth.allowInsecureRequests]: true };
const { step, exit } = reporter('oauth4webapi');
const rpc = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list', params: {} });
const mcp = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };

// Sends a request. Returns the response, or its challenge.
async function send({ method, url, headers = {}, body }, token) {
  if (!token) {
    // The library does not send a request without a token.
    const response = await fetch(url, { method, headers, body });
    const { cause } = await send401(response);
    return { response, challenge: cause };
  }
  try {
    const response = await oauth.protectedResourceRequest(token, method, new URL(url), new Headers(headers), body, insecure);
    return { response };
  } catch (error) {
    if (!(error instanceof oauth.WWWAuthenticateChallengeError)) throw error;
    return { response: error.response, challenge: error.cause };
  }
}

// Lets the library parse the challenge of a response.
async function send401(response) {
  const replay = { ...insecure, [oauth.customFetch]: async () => response };
  return oauth.protectedResourceRequest('-', 'GET', new URL(response.url), undefined, undefined, replay).then(
    () => { throw new Error(`${response.status} without a challenge`); },
    (error) => error,
  );
}

function bearer(challenge, status, response) {
  expect(response.status === status, `the status is ${response.status}`);
  expect(challenge?.length === 1 && challenge[0].scheme === 'bearer', `the challenges are ${JSON.stringify(challenge)}`);
  return challenge[0].parameters;
}

const isUrl = (text) => {
  const url = new URL(text);
  const isLoopback = url.hostname === '127.0.0.1';
  return (url.protocol === 'https:' || (isLoopback && url.protocol === 'http:')) && !text.includes('#');
};
const isScope = (text) => /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(text);
const isText = (value) => typeof value === 'string' && value !== '';
const isList = (value, isElement) => Array.isArray(value) && value.length > 0 && value.every((one) => isText(one) && isElement(one));

// The members of RFC 9728 section 2, and the form of each.
const MEMBERS = {
  resource: isUrl,
  authorization_servers: (value) => isList(value, isUrl),
  jwks_uri: isUrl,
  scopes_supported: (value) => isList(value, isScope) && !value.includes('offline_access'),
  bearer_methods_supported: (value) => isList(value, (one) => ['header', 'body', 'query'].includes(one)),
  resource_signing_alg_values_supported: (value) => isList(value, (one) => one !== 'none'),
  resource_name: isText,
  resource_documentation: isUrl,
  resource_policy_uri: isUrl,
  resource_tos_uri: isUrl,
  tls_client_certificate_bound_access_tokens: (value) => typeof value === 'boolean',
  authorization_details_types_supported: (value) => isList(value, isText),
  dpop_signing_alg_values_supported: (value) => isList(value, (one) => one !== 'none'),
  dpop_bound_access_tokens_required: (value) => typeof value === 'boolean',
  signed_metadata: (value) => value.split('.').length === 3,
};

// Checks a document point by point. Returns it, and the number of points.
async function checkDocument(url) {
  let points = 0;
  const point = (condition, text) => {
    points += 1;
    expect(condition, text);
  };
  const response = await fetch(url, { redirect: 'error' });
  point(response.status === 200, `section 3.2: the status is ${response.status}`);
  point(/^application\/json(;|$)/.test(response.headers.get('content-type')), 'section 3.2: not application/json');
  point(response.headers.get('access-control-allow-origin') === '*', 'pages cannot fetch the document');
  const document = await response.json();
  point(document !== null && typeof document === 'object' && !Array.isArray(document), 'section 3.2: no object');
  point('resource' in document, 'section 2: no resource');
  for (const [name, value] of Object.entries(document)) {
    point(name in MEMBERS, `section 2: ${name} is not registered`);
    point(MEMBERS[name](value), `section 2: ${name} is ${JSON.stringify(value)}`);
  }
  // Section 3: the well-known part is between host and path.
  const { origin, pathname } = new URL(document.resource);
  const built = `${origin}/.well-known/oauth-protected-resource${pathname === '/' ? '' : pathname}`;
  point(url === built, `section 3: the URL is ${url}, expected ${built}`);
  // Section 3.1: the library builds the URL from the identifier, and requires the same identifier (section 3.3).
  const discovered = await oauth.resourceDiscoveryRequest(new URL(document.resource), insecure);
  const processed = await oauth.processResourceDiscoveryResponse(new URL(document.resource), discovered);
  point(processed.resource === document.resource, 'section 3.3: another resource');
  const tag = response.headers.get('etag');
  const known = await fetch(url, { headers: { 'if-none-match': tag } });
  point(known.status === 304, `the document is not cached: ${known.status}`);
  return { document, points };
}

// Section 3.3 for a document that a challenge names. Strict: `resource` is the URL that was called. Lenient, as deployed clients
// read it: the same origin, and the start of the path.
function reading(url, resource) {
  if (url === resource) return 'strict';
  const [called, named] = [new URL(url), new URL(resource)];
  const path = named.pathname.replace(/\/$/, '');
  return called.origin === named.origin && `${called.pathname}/`.startsWith(`${path}/`) ? 'lenient' : 'none';
}

const servers = new Map();

// Finds the authorization server, and registers a client there, once.
async function register(issuer) {
  if (servers.has(issuer)) return servers.get(issuer);
  const found = await oauth.discoveryRequest(new URL(issuer), { algorithm: 'oauth2', ...insecure }).then(
    (response) => oauth.processDiscoveryResponse(new URL(issuer), response),
    () => undefined,
  ).catch(() => undefined);
  const server = found ?? (await oauth.processDiscoveryResponse(
    new URL(issuer),
    await oauth.discoveryRequest(new URL(issuer), { algorithm: 'oidc', ...insecure }),
  ));
  const metadata = {
    redirect_uris: [REDIRECT],
    grant_types: ['authorization_code'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  };
  const registration = await oauth.dynamicClientRegistrationRequest(server, metadata, insecure);
  const client = await oauth.processDynamicClientRegistrationResponse(registration);
  servers.set(issuer, { server, client });
  return { server, client };
}

// Gets a token with an authorization code, PKCE and `resource`. `cookies` are those of the browser.
async function authorize({ server, client }, resource, parameters, cookies) {
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const url = new URL(server.authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: client.client_id,
    response_type: 'code',
    redirect_uri: REDIRECT,
    resource,
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...parameters,
  });
  const answer = oauth.validateAuthResponse(server, client, await browse(url, REDIRECT, cookies), state);
  const response = await oauth.authorizationCodeGrantRequest(
    server, client, oauth.None(), answer, REDIRECT, verifier,
    { additionalParameters: { resource }, ...insecure },
  );
  return (await oauth.processAuthorizationCodeResponse(server, client, response)).access_token;
}

// Goes from an address to a response 200, or to a challenge for step-up authentication if only the lenient reading fits.
async function reach(title, target, expected) {
  const cookies = new Map();
  let parameters;
  let document;
  let found;
  let token;
  await step(`${title}: challenge without a token`, async () => {
    const { response, challenge } = await send(target);
    parameters = bearer(challenge, 401, response);
    expect(!('error' in parameters), `the error is ${parameters.error}`);
    expect(isUrl(parameters.resource_metadata), `the metadata is at ${parameters.resource_metadata}`);
    return `scope ${parameters.scope}`;
  });
  await step(`${title}: RFC 9728 document`, async () => {
    const checked = await checkDocument(parameters.resource_metadata);
    document = checked.document;
    for (const scope of parameters.scope.split(' ')) {
      expect(document.scopes_supported.includes(scope), `${scope} is not supported`);
    }
    return `${checked.points} points`;
  });
  await step(`${title}: RFC 9728 section 3.3`, async () => {
    const found = reading(target.url, document.resource);
    expect(found === expected, `the resource ${document.resource} fits ${target.url} in the reading: ${found}`);
    return expected === 'strict' ? 'strict and lenient' : 'lenient only';
  });
  await step(`${title}: authorization server and registration`, async () => {
    found = await register(document.authorization_servers[0]);
    return found.server.issuer.replace(/:\d+$/, '');
  });
  await step(`${title}: code with PKCE and resource, then a request`, async () => {
    token = await authorize(found, document.resource, { scope: parameters.scope }, cookies);
    const { response, challenge } = await send(target, token);
    if (expected === 'strict') {
      expect(response.status === 200, `the status is ${response.status}, ${JSON.stringify(challenge)}`);
      return '200';
    }
    parameters = bearer(challenge, 401, response);
    return `401 ${parameters.error}`;
  });
  return { document, found, token, parameters, cookies };
}

const payments = { method: 'GET', url: `${api}/payments` };
const transfer = { method: 'POST', url: `${api}/payments/transfer` };
const tools = { method: 'POST', url: endpoint, headers: mcp, body: rpc };
const { document } = await reach('REST API', payments, 'strict');
await reach('MCP server', tools, 'strict');
const weak = await reach('route below the resource', transfer, 'lenient');

// RFC 9470. The user has signed in with a password, an hour ago.
await step('step-up: challenge', async () => {
  const { error, acr_values, max_age, scope } = weak.parameters;
  expect(error === 'insufficient_user_authentication', `the error is ${error}`);
  expect(acr_values === 'phr' && max_age === '300', `acr_values is ${acr_values}, max_age is ${max_age}`);
  expect(scope === 'payments:write', `the scope is ${scope}`);
  return `acr_values ${acr_values}, max_age ${max_age}`;
});
// oidc-provider accepts `max_age` only with the scope openid.
const ask = (parameters) =>
  authorize(weak.found, weak.document.resource, { scope: `openid ${weak.parameters.scope}`, ...parameters }, weak.cookies);
await step('step-up: only one of both is not sufficient', async () => {
  const recent = await send(transfer, await ask({ max_age: '300' }));
  bearer(recent.challenge, 401, recent.response);
  weak.cookies.clear();
  await ask({});
  const strong = await send(transfer, await ask({ acr_values: 'phr' }));
  bearer(strong.challenge, 401, strong.response);
  return 'max_age alone 401, acr_values alone 401';
});
await step('step-up: a token with acr_values and max_age', async () => {
  weak.cookies.clear();
  await ask({});
  const { acr_values, max_age } = weak.parameters;
  const { response, challenge } = await send(transfer, await ask({ acr_values, max_age }));
  expect(response.status === 200, `the status is ${response.status}, ${JSON.stringify(challenge)}`);
  expect((await response.text()) === 'alice paid', 'another body');
  const old = await send(transfer, weak.token);
  bearer(old.challenge, 401, old.response);
  return '200, and the first token still 401';
});
await step('signed metadata', async () => {
  const { signed_metadata, ...unsigned } = document;
  const key = await importJWK(JSON.parse(readFileSync(process.env.INTEROP_METADATA_KEY, 'utf8')));
  const { payload } = await compactVerify(signed_metadata, key);
  const { iss, ...claims } = JSON.parse(new TextDecoder().decode(payload));
  expect(iss === api, `iss is ${iss}`);
  const sorted = (value) => JSON.stringify(Object.entries(value).sort());
  expect(sorted(claims) === sorted(unsigned), `the claims are ${JSON.stringify(claims)}`);
  return 'verified by jose';
});
exit();
