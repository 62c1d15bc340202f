// npm @modelcontextprotocol/sdk, the client before version 2.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { session } from './typescript.mjs';
import { run } from './steps.mjs';

// With a refresh token, this client answers insufficient_scope with a refresh, which adds no scope, and gives up.
const grants = ['authorization_code'];
await run('@modelcontextprotocol/sdk', session({ Client, StreamableHTTPClientTransport, UnauthorizedError }, grants));
