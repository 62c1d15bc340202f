// npm @modelcontextprotocol/client at the example dev_issuer: registration, login page, resource, step-up, refresh token.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { session } from './typescript.mjs';
import { expect } from './steps.mjs';

const grants = ['authorization_code', 'refresh_token'];
const client = session({ Client, StreamableHTTPClientTransport, UnauthorizedError }, grants);
try {
  await client.connect();
  for (const [tool, result] of [['read_document', 'alice reads'], ['write_document', 'alice writes']]) {
    const text = await client.call(tool);
    expect(text === result, `the result of ${tool} is ${text}`);
  }
  console.log('STEP|dev_issuer|registration, login page and step-up|ok|');
  process.exit(0);
} catch (error) {
  console.log(`STEP|dev_issuer|registration, login page and step-up|FAILED|${error.message}`);
  console.error(error);
  process.exit(1);
}
