// better-auth with its plugin oauth-provider on a loopback port that the kernel chooses: one user, four clients, two
// resources. INTEROP_STATE/server.json has the issuer, clients.json the credentials.
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as path from 'node:path';
import { randomBytes } from 'node:crypto';
import { betterAuth } from 'better-auth';
import { memoryAdapter } from 'better-auth/adapters/memory';
import { toNodeHandler } from 'better-auth/node';
import { jwt } from 'better-auth/plugins';
import { oauthProvider, oauthProviderAuthServerMetadata } from '@better-auth/oauth-provider';

const API = 'https://api.example.test';
const OTHER = 'https://other.example.test';
const ROOT_METADATA = '/.well-known/oauth-authorization-server/api/auth';
const TABLES = [
  ...['user', 'session', 'account', 'verification', 'jwks', 'rateLimit', 'oauthClient', 'oauthAccessToken'],
  ...['oauthRefreshToken', 'oauthConsent', 'oauthResource', 'oauthClientResource', 'oauthClientAssertion'],
];

const write = (name, value) =>
  fs.writeFileSync(path.join(process.env.INTEROP_STATE, name), JSON.stringify(value, null, 1), { mode: 0o600 });

let handle = (_, response) => response.writeHead(503).end();
const server = http.createServer((request, response) => handle(request, response));
await new Promise((resolve, reject) => {
  server.once('error', reject);
  server.listen(0, '127.0.0.1', resolve);
});
const base = `http://127.0.0.1:${server.address().port}`;

const auth = betterAuth({
  baseURL: base,
  secret: randomBytes(32).toString('hex'),
  database: memoryAdapter(Object.fromEntries(TABLES.map((name) => [name, []]))),
  emailAndPassword: { enabled: true },
  telemetry: { enabled: false },
  // The plugin permits 100 introspections a minute by default.
  rateLimit: { enabled: false },
  plugins: [
    jwt(),
    oauthProvider({
      loginPage: '/login',
      consentPage: '/consent',
      scopes: ['openid', 'profile', 'email', 'offline_access', 'read', 'write'],
      resources: [API, OTHER],
      silenceWarnings: { oauthAuthServerConfig: true, openidConfig: true },
      clientPrivileges: () => true,
      resourcePrivileges: () => true,
    }),
  ],
});
await auth.$context;

const user = { name: 'Alice', email: 'alice@example.test', password: randomBytes(12).toString('hex') };
const signedUp = await auth.api.signUpEmail({ asResponse: true, body: user });
const cookies = signedUp.headers.getSetCookie().map((cookie) => cookie.split(';')[0]);
const headers = new Headers({ cookie: cookies.join('; ') });

const clients = {};
async function register(name, method, resources) {
  const client = await auth.api.adminCreateOAuthClient({
    headers,
    body: {
      client_name: name,
      redirect_uris: ['https://client.example.test/cb'],
      scope: 'openid profile email offline_access read write',
      grant_types: ['client_credentials', 'authorization_code', 'refresh_token'],
      client_credentials_scopes: ['read', 'write'],
      token_endpoint_auth_method: method,
      skip_consent: true,
      require_pkce: false,
    },
  });
  for (const resource of resources) {
    const params = { identifier: encodeURIComponent(resource), client_id: client.client_id };
    await auth.api.adminLinkClientResource({ headers, params });
  }
  clients[name] = { id: client.client_id, secret: client.client_secret };
}
await register('app', 'client_secret_basic', [API, OTHER]);
await register('rs-basic', 'client_secret_basic', [API]);
await register('rs-post', 'client_secret_post', [API]);
await register('rs-unlinked', 'client_secret_basic', []);

const issuer = `${base}/api/auth`;
write('server.json', { issuers: { http: issuer } });
write('clients.json', { audience: API, other: OTHER, user, clients });

// The metadata of RFC 8414 is at the root of the host, where better-auth leaves it to the application.
const [answer, metadata] = [toNodeHandler(auth), oauthProviderAuthServerMetadata(auth)];
handle = async (request, response) => {
  if (request.url !== ROOT_METADATA) return answer(request, response);
  const document = await metadata(new Request(base + request.url));
  response.writeHead(document.status, Object.fromEntries(document.headers));
  return response.end(await document.text());
};
console.log(`READY ${issuer}`);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0));
