// npm @modelcontextprotocol/client, version 2.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { session } from './typescript.mjs';
import { run } from './steps.mjs';

const grants = ['authorization_code', 'refresh_token'];
await run('@modelcontextprotocol/client', session({ Client, StreamableHTTPClientTransport, UnauthorizedError }, grants));
