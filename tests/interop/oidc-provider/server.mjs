// oidc-provider on loopback: one plain listener with three issuers, one with TLS, one with TLS that asks for a client
// certificate. The ports are the kernel's choice; INTEROP_STATE/server.json tells them.
import * as http from 'node:http';
import * as https from 'node:https';
import { read } from './state.mjs';
import { open, route } from './issuers.mjs';
import { admin, fail, observe } from './harness.mjs';

const handler = (names) => async (request, response) => {
  try {
    if (request.url.startsWith('/__admin/')) return await admin(request, response);
    observe(request);
    if (await fail(request, response)) return undefined;
    return route(names, request, response);
  } catch (error) {
    console.error(error);
    response.statusCode = 500;
    return response.end('harness error');
  }
};

const tls = { key: read('server.key'), cert: read('server.pem'), ca: read('ca.pem'), minVersion: 'TLSv1.2' };
const servers = {
  http: http.createServer(handler(['path', 'slash', 'http'])),
  https: https.createServer(tls, handler(['https'])),
  // Takes any certificate, self-signed ones too: the product checks them for each client.
  mtls: https.createServer({ ...tls, requestCert: true, rejectUnauthorized: false }, handler(['https'])),
};

const listen = ([name, server]) =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve([name, server.address().port]));
  });

const ports = Object.fromEntries(await Promise.all(Object.entries(servers).map(listen)));
console.log(`READY ${open(ports)}`);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0));
