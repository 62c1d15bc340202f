// The installed packages. They live in MODULES (the node_modules folder), not beside this file.
import * as path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// oidc-provider 9 wants Node 22 for URL.parse only; this makes it run on Node 20.
URL.parse ??= (url, base) => {
  try {
    return new URL(url, base);
  } catch {
    return null;
  }
};

const MODULES = process.env.MODULES;
const { resolve } = createRequire(path.join(MODULES, 'any.js'));
const load = (name) => import(pathToFileURL(resolve(name)).href);
const helper = async (name) =>
  (await import(pathToFileURL(path.join(MODULES, 'oidc-provider/lib/helpers', name)).href)).default;

export const { Provider } = await load('oidc-provider');
export const jose = await load('jose');
// The product's own key loader: called again to rotate keys at run time.
export const loadKeys = await helper('initialize_keystore.js');
export const ResourceServer = await helper('resource_server.js');
