// What the JavaScript clients share: a browser without a window, and the steps.

// Follows the redirects of an authorization request, with cookies, up to the redirect URI of the client. The cookies of an
// earlier request are those of a user who has signed in. The login page of the example dev_issuer is a form: all requested scopes
// are granted to "alice".
export async function browse(url, redirectUri, cookies = new Map()) {
  let form;
  for (let hops = 0; hops < 20; hops += 1) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const request = form ? { method: 'POST', body: form } : {};
    const response = await fetch(url, { ...request, redirect: 'manual', headers: { cookie } });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      cookies.set(name, value);
    }
    const location = response.headers.get('location');
    const page = location ? '' : await response.text();
    form = loginForm(page);
    if (form) continue;
    if (!location) throw new Error(`${response.status} without a redirect: ${page}`);
    url = new URL(location, url);
    if (!url.href.startsWith(redirectUri)) continue;
    if (url.searchParams.has('error')) throw new Error(`the authorization failed: ${url.searchParams}`);
    return url.searchParams;
  }
  throw new Error('too many redirects');
}

function loginForm(page) {
  if (!page.includes('action=/authorize')) return undefined;
  const form = new URLSearchParams({ subject: 'alice', format: 'jwt', lifetime: '3600', decision: 'grant' });
  for (const [, name, value] of page.matchAll(/type=hidden name="([^"]*)" value="([^"]*)"/g)) form.append(name, unescape(value));
  for (const [, scope] of page.matchAll(/name=granted value="([^"]*)"/g)) form.append('granted', unescape(scope));
  return form;
}

const ENTITIES = { '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#39;': "'", '&amp;': '&' };
const unescape = (html) => html.replace(/&[^;]*;/g, (entity) => ENTITIES[entity]);

export const issuer = process.env.INTEROP_ISSUER;
export const endpoint = process.env.INTEROP_MCP;
export const pause = (millis) => new Promise((resolve) => setTimeout(resolve, millis));
export const setLifetime = (seconds) => fetch(`${issuer}/__admin/ttl?seconds=${seconds}`, { method: 'POST' });

// The scopes of the authorization requests so far.
export async function authorizations() {
  const requests = await (await fetch(`${issuer}/__admin/requests`)).json();
  return requests.filter(({ path, query }) => path === '/auth' && query.client_id).map(({ query }) => query);
}

export function expect(condition, text) {
  if (!condition) throw new Error(text);
}

// Prints one line for each step.
export function reporter(name) {
  let failed = 0;
  const step = async (title, body) => {
    try {
      console.log(`STEP|${name}|${title}|ok|${(await body()) ?? ''}`);
    } catch (error) {
      failed += 1;
      console.log(`STEP|${name}|${title}|FAILED|${error.message}`);
      console.error(error);
    }
  };
  return { step, exit: () => process.exit(failed === 0 ? 0 : 1) };
}

// Runs the steps of an MCP client. `session` has `connect`, `tools` and `call`.
export async function run(name, session) {
  const { step, exit } = reporter(name);
  const before = (await authorizations()).length;
  const since = async () => (await authorizations()).slice(before);
  await step('discovery and first authorization', async () => {
    await session.connect();
    const tools = await session.tools();
    expect(tools.includes('write_document'), `the tools are ${tools}`);
    const [first] = await since();
    expect(first.resource === endpoint, `the resource is ${first.resource}`);
    expect(!/files:/.test(first.scope), `the first scope is ${first.scope}`);
    return `scope ${first.scope}`;
  });
  await step('step-up after insufficient_scope', async () => {
    const text = await session.call('read_document');
    expect(text === 'alice reads', `the result is ${text}`);
    const { scope } = (await since()).at(-1);
    expect(scope.split(' ').includes('files:read') && scope.split(' ').includes('mcp'), `the scope is ${scope}`);
    return `scope ${scope}`;
  });
  await step('rejection of a tool whose scope is not granted', async () => {
    const seen = (await since()).length;
    const error = await session.call('write_document').then((text) => text, (error) => error);
    expect(error instanceof Error, `the result is ${error}`);
    const attempts = (await since()).length - seen;
    expect(attempts <= 3, `${attempts} authorizations`);
    return `${attempts} authorization(s), then: ${error.message.split('\n')[0].slice(0, 60)}`;
  });
  await step('another tool still works', async () => {
    const text = await session.call('read_document');
    expect(text === 'alice reads', `the result is ${text}`);
  });
  await step('expired token', async () => {
    await setLifetime(2);
    session.discard();
    await session.tools();
    await setLifetime(3600);
    await pause(3500);
    const text = await session.call('read_document');
    expect(text === 'alice reads', `the result is ${text}`);
  });
  exit();
}
