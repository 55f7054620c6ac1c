// k6's calls come back with their answer, which Node's do not: another process makes them.
import { spawnSync } from 'node:child_process';

export function call(request) {
  const done = spawnSync(process.env.K6_PYTHON, ['-m', 'tests.deploy.load.k6_call'], { input: JSON.stringify(request) });
  if (done.status !== 0) {
    throw new Error(String(done.stderr));
  }
  return JSON.parse(String(done.stdout));
}
