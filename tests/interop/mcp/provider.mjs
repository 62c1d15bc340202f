// oidc-provider on loopback for generic clients and MCP clients: dynamic registration, PKCE, resource indicators, JWTs. The user
// "alice" signs in and consents at once. The scope files:write is not granted, unless /__admin/scope is called.
//
// Access tokens have `acr` and `auth_time`. She signed in with a password, an hour ago, unless the client requests another `acr`
// or `max_age` (RFC 9470).
//
// POST /__admin/ttl?seconds=N sets the lifetime of access tokens; POST /__admin/scope?scope=S sets the granted scopes;
// GET /__admin/requests lists the requests so far.
import * as crypto from 'node:crypto';
import * as http from 'node:http';
import { Provider, interactionPolicy } from 'oidc-provider';

const { privateKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
let ttl = 3600;
let scope = 'mcp files:read';
const PAYMENTS = 'payments:read payments:write';
const ALL = `openid offline_access mcp files:read files:write ${PAYMENTS}`;
const requests = [];

// oidc-provider treats `acr_values` as a wish. This check signs the user in again if the session does not meet it.
const policy = interactionPolicy.base();
const unmet = ({ oidc }) => {
  const wanted = oidc.params.acr_values?.split(' ') ?? [];
  return wanted.length > 0 && !wanted.includes(oidc.acr) && !oidc.result?.login;
};
const { Check } = interactionPolicy;
policy.get('login').checks.add(new Check('acr_values', 'another sign-in is required', 'login_required', unmet));

const server = http.createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'a', use: 'sig', alg: 'ES256' }] },
  scopes: ALL.split(' '),
  acrValues: ['pwd', 'phr'],
  extraTokenClaims: ({ oidc }) => {
    const { acr, authTime } = oidc.entities.AuthorizationCode ?? oidc.entities.RefreshToken ?? {};
    return { acr, auth_time: authTime };
  },
  clientDefaults: { grant_types: ['authorization_code', 'refresh_token'], id_token_signed_response_alg: 'ES256' },
  // Clients register the scope of the first challenge. A server that restricts them to it prevents every step-up.
  extraClientMetadata: {
    properties: ['interop'],
    validator: (ctx, key, value, metadata) => { metadata.scope = ALL; },
  },
  pkce: { required: () => true },
  cookies: { keys: [crypto.randomBytes(16).toString('hex')] },
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => ({
        scope: resource.endsWith('/payments') ? PAYMENTS : scope,
        audience: resource,
        accessTokenFormat: 'jwt',
        accessTokenTTL: ttl,
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
  interactions: { policy, url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});
provider.on('server_error', (ctx, error) => console.error(error));

async function interact(request, response) {
  const { prompt, params, grantId, session } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    const acr = params.acr_values?.split(' ')[0] ?? 'pwd';
    const now = Math.floor(Date.now() / 1000);
    const ts = prompt.reasons.includes('max_age') ? now : now - 3600;
    return provider.interactionFinished(request, response, { login: { accountId: 'alice', acr, ts } });
  }
  const found = grantId && (await provider.Grant.find(grantId));
  const grant = found || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const { missingOIDCScope, missingResourceScopes } = prompt.details;
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(' '));
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  const result = { consent: { grantId: await grant.save() } };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

const callback = provider.callback();
server.on('request', async (request, response) => {
  try {
    const url = new URL(request.url, issuer);
    if (url.pathname === '/__admin/ttl') {
      ttl = Number(url.searchParams.get('seconds'));
      return response.end();
    }
    if (url.pathname === '/__admin/scope') {
      scope = url.searchParams.get('scope');
      return response.end();
    }
    if (url.pathname === '/__admin/requests') return response.end(JSON.stringify(requests));
    requests.push({ path: url.pathname, query: Object.fromEntries(url.searchParams) });
    if (url.pathname.startsWith('/interaction/')) return await interact(request, response);
    return callback(request, response);
  } catch (error) {
    console.error(error);
    response.statusCode = 500;
    return response.end();
  }
});
console.log(`READY ${issuer}`);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0));
