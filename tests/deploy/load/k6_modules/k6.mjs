// What deploy/load/k6.js takes from 'k6': a check counts what holds and what does not.
export const counts = {};

export function check(value, checks) {
  for (const [name, holds] of Object.entries(checks)) {
    counts[name] = counts[name] || { passes: 0, fails: 0 };
    counts[name][holds(value) ? 'passes' : 'fails'] += 1;
  }
}
