// What the tests steer and observe the server by: everything under /__admin. None of it is part of the product.
import { logout, pushEvent, restoreKeys, rotate, userToken } from './issuers.mjs';

let counts = {}; // path -> number of requests
let last = {}; // path -> the last request, see recordOf
let faults = []; // { path, times, delay_ms, drop, status, type, headers, body }

export async function admin(request, response) {
  const url = new URL(request.url, 'http://any');
  const query = Object.fromEntries(url.searchParams);
  const reply = (value, status = 200) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(value));
  };
  switch (url.pathname) {
    case '/__admin/reset': // as after the start, apart from tokens given out
      counts = {};
      last = {};
      faults = [];
      restoreKeys();
      return reply({});
    case '/__admin/stats':
      return reply(counts);
    case '/__admin/last':
      return reply(last[query.path] ?? null);
    case '/__admin/fault':
      faults.push({ times: 1, ...JSON.parse(await bodyOf(request)) });
      return reply({ faults });
    case '/__admin/rotate':
      return reply({ kids: rotate(query.mode) });
    case '/__admin/user-token':
      return reply({ access_token: await userToken(query) });
    case '/__admin/logout':
      await logout(query);
      return reply({});
    case '/__admin/push-event':
      return reply({ status: await pushEvent(query) });
    default:
      return reply({ error: 'unknown' }, 404);
  }
}

async function bodyOf(request) {
  let body = '';
  for await (const chunk of request) body += chunk;
  return body;
}

// Remembers the request as it arrives, without reading the body in the product's place.
export function observe(request) {
  const { pathname } = new URL(request.url, 'http://any');
  counts[pathname] = (counts[pathname] ?? 0) + 1;
  const record = recordOf(request);
  last[pathname] = record;
  const push = request.push.bind(request);
  request.push = (chunk, ...rest) => {
    if (chunk) record.body += chunk;
    else record.form = formOf(record.body);
    return push(chunk, ...rest);
  };
}

const recordOf = (request) => ({
  method: request.method,
  url: request.url,
  headers: request.headers,
  certificate: request.socket.getPeerX509Certificate?.()?.subject ?? null,
  body: '',
  form: {},
});

// name -> value, or the list of values where a parameter came more than once
function formOf(body) {
  const form = {};
  const parameters = new URLSearchParams(body);
  for (const name of new Set(parameters.keys())) {
    const values = parameters.getAll(name);
    form[name] = values.length === 1 ? values[0] : values;
  }
  return form;
}

// Whether a fault took the request, so that the product does not see it.
export async function fail(request, response) {
  const { pathname } = new URL(request.url, 'http://any');
  const index = faults.findIndex((one) => pathname.endsWith(one.path));
  if (index < 0) return false;
  const fault = faults[index];
  fault.times -= 1;
  if (fault.times <= 0) faults.splice(index, 1);
  if (fault.delay_ms) await new Promise((resolve) => setTimeout(resolve, fault.delay_ms));
  if (fault.drop) {
    request.socket.destroy();
    return true;
  }
  if (!fault.status) return false;
  response.writeHead(fault.status, { 'content-type': fault.type ?? 'text/plain', ...fault.headers });
  response.end(fault.body ?? 'fault');
  return true;
}
