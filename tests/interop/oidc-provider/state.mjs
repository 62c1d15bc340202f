// The files in INTEROP_STATE that the server, the minting and the tests share.
import * as fs from 'node:fs';
import * as path from 'node:path';

export const file = (name) => path.join(process.env.INTEROP_STATE, name);
export const read = (name) => fs.readFileSync(file(name));
export const readJson = (name) => JSON.parse(fs.readFileSync(file(name), 'utf8'));
export const writeJson = (name, value) =>
  fs.writeFileSync(file(name), JSON.stringify(value, null, 1), { mode: 0o600 });
