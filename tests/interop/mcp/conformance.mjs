// npm @modelcontextprotocol/conformance against the protected server, through a proxy that adds an access token. The tests
// of the authorization itself are for clients only, so these tests show that protection changes nothing of the protocol.
import { spawn } from 'node:child_process';
import * as crypto from 'node:crypto';
import * as http from 'node:http';
import { browse, endpoint, issuer } from './steps.mjs';

// The scenarios that the example passes without protection. The others need tools or resources that it does not have.
const PASSED = [
  'server-initialize',
  'server-session-lifecycle',
  'ping',
  'tools-list',
  'server-sse-polling',
  'server-sse-multiple-streams',
  'sep-2164-resource-not-found',
  'dns-rebinding-protection',
  'http-header-validation',
  'input-required-result-unsupported-methods',
  'input-required-result-ignore-extra-params',
];
const SCENARIOS = process.env.INTEROP_SCENARIOS?.split(' ') ?? PASSED;
const SCOPE = 'mcp files:read files:write';
const REDIRECT = 'http://127.0.0.1:9/callback';
const target = new URL(endpoint);

async function token() {
  const json = (body) => ({ method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  const registration = {
    redirect_uris: [REDIRECT],
    grant_types: ['authorization_code'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  };
  const { client_id } = await (await fetch(`${issuer}/reg`, json(registration))).json();
  const verifier = crypto.randomBytes(32).toString('base64url');
  const code_challenge = crypto.createHash('sha256').update(verifier).digest('base64url');
  const query = new URLSearchParams({
    client_id,
    response_type: 'code',
    redirect_uri: REDIRECT,
    scope: SCOPE,
    resource: endpoint,
    code_challenge,
    code_challenge_method: 'S256',
  });
  const code = (await browse(new URL(`${issuer}/auth?${query}`), REDIRECT)).get('code');
  const grant = { grant_type: 'authorization_code', client_id, code, redirect_uri: REDIRECT, code_verifier: verifier };
  const body = new URLSearchParams({ ...grant, resource: endpoint });
  const answer = await (await fetch(`${issuer}/token`, { method: 'POST', body })).json();
  if (answer.scope !== SCOPE) throw new Error(`no token: ${JSON.stringify(answer)}`);
  return answer.access_token;
}

// Forwards everything. Its own address in `Host` and `Origin` becomes that of the server; others are kept.
function proxy(authorization) {
  const server = http.createServer((request, response) => {
    const own = `127.0.0.1:${server.address().port}`;
    const rename = (value) => value?.replace(own, target.host).replace(own.replace('127.0.0.1', 'localhost'), target.host);
    const headers = { ...request.headers, authorization, host: rename(request.headers.host) };
    if (headers.origin) headers.origin = rename(headers.origin);
    const options = { host: target.hostname, port: target.port, method: request.method, path: request.url, headers };
    const forwarded = http.request(options, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    forwarded.on('error', () => response.destroy());
    request.pipe(forwarded);
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

await fetch(`${issuer}/__admin/scope?${new URLSearchParams({ scope: SCOPE })}`, { method: 'POST' });
const server = await proxy(process.env.INTEROP_OPEN ? '' : `Bearer ${await token()}`);
const url = `http://127.0.0.1:${server.address().port}${target.pathname}`;
const run = (scenario) =>
  new Promise((resolve) => {
    const tool = 'node_modules/@modelcontextprotocol/conformance/dist/index.js';
    const child = spawn(process.execPath, [tool, 'server', '--url', url, '--scenario', scenario]);
    let output = '';
    child.stdout.on('data', (text) => { output += text; });
    child.stderr.on('data', (text) => { output += text; });
    child.on('close', (code) => resolve({ code, output }));
  });
let failed = 0;
for (const scenario of SCENARIOS) {
  const { code, output } = await run(scenario);
  const checks = /Passed: (\d+\/\d+)/.exec(output)?.[1] ?? '';
  if (code !== 0) {
    failed += 1;
    console.log(output);
  }
  console.log(`STEP|@modelcontextprotocol/conformance|${scenario}|${code === 0 ? 'ok' : 'FAILED'}|${checks}`);
}
server.close();
process.exit(failed === 0 ? 0 : 1);
