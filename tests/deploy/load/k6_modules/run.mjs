// Runs k6's script so many times: node run.mjs SCRIPT ITERATIONS. Prints its options and what its checks counted.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { counts } from './k6.mjs';

globalThis.__ENV = process.env;
globalThis.open = (path, mode) => {
  const bytes = readFileSync(resolve(process.env.K6_FOLDER, path));
  return mode === 'b' ? bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) : String(bytes);
};
const script = await import(resolve(process.argv[2]));
for (let turn = 0; turn < Number(process.argv[3]); turn += 1) {
  script.default();
}
console.log(JSON.stringify({ options: script.options, counts }));
