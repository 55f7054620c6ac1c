// What is looked at, as it stands in the address: so that back, forward, reload and a link to it work.

const PLAIN = { collection: "c", query: "q", language: "lang", like: "like", picture: "picture", item: "item" };
const FILTER = "f.";

/** The state in an address's query: all but `filters` are texts, "" for none. */
export function read(search) {
  const given = new URLSearchParams(search);
  const state = { filters: {} };
  for (const [name, key] of Object.entries(PLAIN)) state[name] = given.get(key) ?? "";
  for (const [key, value] of given) if (key.startsWith(FILTER) && value) state.filters[key.slice(FILTER.length)] = value;
  return state;
}

/** The query of an address for a state. */
export function write(state) {
  const given = new URLSearchParams();
  for (const [name, key] of Object.entries(PLAIN)) if (state[name]) given.set(key, state[name]);
  for (const [name, value] of Object.entries(state.filters).sort()) if (value) given.set(FILTER + name, value);
  const text = given.toString();
  return text ? `?${text}` : location.pathname;
}

/** Equal for states that have the same results. */
export function searchKey(state) {
  const query = state.query.trim();
  return write({ ...state, query, language: query ? state.language : "", item: "" });
}

/** Whether anything is searched for. */
export function searches(state) {
  return Boolean(state.query.trim() || state.like || state.picture);
}
