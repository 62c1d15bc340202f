// A session of the TypeScript clients. Their two versions have the same interface for this.
import { browse, endpoint } from './steps.mjs';

const REDIRECT = 'http://127.0.0.1:9/callback';

export function session({ Client, StreamableHTTPClientTransport, UnauthorizedError }, grantTypes) {
  let registered;
  let tokens;
  let verifier;
  let transport;
  let client;
  let answer;
  const provider = {
    redirectUrl: REDIRECT,
    clientMetadata: {
      client_name: 'interop',
      redirect_uris: [REDIRECT],
      grant_types: grantTypes,
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    },
    clientInformation: () => registered,
    saveClientInformation: (information) => { registered = information; },
    tokens: () => tokens,
    saveTokens: (saved) => { tokens = saved; },
    redirectToAuthorization: async (url) => { answer = await browse(url, REDIRECT); },
    saveCodeVerifier: (code) => { verifier = code; },
    codeVerifier: () => verifier,
  };
  const connect = async () => {
    transport = new StreamableHTTPClientTransport(new URL(endpoint), { authProvider: provider });
    client = new Client({ name: 'interop', version: '1.0.0' });
    await client.connect(transport);
  };
  // The client ends a request that needs an authorization. It is repeated after the authorization. Two may be needed: one for
  // the scopes of the mount, one for those of the tool.
  const authorizing = async (request) => {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await request();
      } catch (error) {
        const needs = error instanceof UnauthorizedError || error.cause instanceof UnauthorizedError;
        if (!needs || !answer || attempt === 2) throw error;
        const params = answer;
        answer = undefined;
        await transport.finishAuth(params.get('code'), params.get('iss') ?? undefined);
      }
    }
  };
  return {
    connect: () => authorizing(connect),
    tools: () => authorizing(async () => (await client.listTools()).tools.map(({ name }) => name)),
    call: (name) =>
      authorizing(async () => {
        const result = await client.callTool({ name, arguments: {} });
        if (result.isError) throw new Error(`the tool failed: ${result.content[0].text}`);
        return result.content[0].text;
      }),
    // Discards the token, so that the next request gets a new one.
    discard: () => { tokens = undefined; },
  };
}
