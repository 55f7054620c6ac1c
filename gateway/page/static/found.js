// The results of one search, or all photographs where nothing is searched for: loaded page by page, as far as
// somebody scrolls.

import { collectionPath, get, post } from "./api.js";
import { filterOf } from "./filters.js";
import { dataUri } from "./pictures.js";
import { parseQuery } from "./query.js";
import { searches } from "./state.js";

const FIRST = 60;
const FURTHER = 120;
const KEPT = 12;
const kept = new Map();

export class Found {
  constructor(state, fields) {
    this.state = state;
    this.fields = fields;
    this.hits = [];
    this.ids = new Set();
    this.threshold = null;
    this.next = 0;
    this.control = new AbortController();
    this.loading = null;
  }

  get done() {
    return this.next === null;
  }

  /** How many of the hits fit; all of them where there is no threshold. */
  get fitting() {
    if (this.threshold === null) return this.hits.length;
    const first = this.hits.findIndex((hit) => this.isBeyond(hit));
    return first < 0 ? this.hits.length : first;
  }

  isBeyond(hit) {
    return this.threshold !== null && hit.score < this.threshold;
  }

  /** Loads the next page, once at a time. */
  load() {
    if (this.done) return Promise.resolve();
    this.loading ??= this.page().finally(() => { this.loading = null; });
    return this.loading;
  }

  abort() {
    this.control.abort();
    this.control = new AbortController();
  }

  async page() {
    const { signal } = this.control;
    const size = this.next ? FURTHER : FIRST;
    const answer = await (searches(this.state) ? ranked : listed)(this.state, this.fields, this.next, size, signal);
    this.threshold = typeof answer.threshold === "number" ? answer.threshold : null;
    // What was added meanwhile moves the others: none is to be seen twice.
    const fresh = answer.hits.filter((hit) => !this.ids.has(hit.id));
    for (const hit of fresh) this.ids.add(hit.id);
    this.hits.push(...fresh);
    this.next = answer.hits.length ? answer.next_offset ?? null : null;
  }
}

/** The results of a key that were loaded before, or null. */
export function recall(key) {
  const found = kept.get(key) ?? null;
  if (found) remember(key, found);
  return found;
}

export function remember(key, found) {
  kept.delete(key);
  kept.set(key, found);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
}

/** Forgets all results, because the collection has changed. */
export function forgetAll() {
  kept.clear();
}

async function ranked(state, fields, offset, top, signal) {
  const asked = await ask(state, fields, offset, top);
  return post(collectionPath(state.collection, asked.path), asked.body, signal);
}

/** All photographs of a collection, for the first view: in the form of results. */
async function listed(state, fields, after, limit, signal) {
  const filter = filterOf(state.filters, fields);
  const asked = new URLSearchParams({ failed: "false", limit: String(limit) });
  if (after) asked.set("after", after);
  if (filter) asked.set("filter", JSON.stringify(filter));
  const answer = await get(collectionPath(state.collection, `/items?${asked}`), signal);
  return { hits: answer.items, threshold: null, next_offset: answer.next_after };
}

async function ask(state, fields, offset, top) {
  const filter = filterOf(state.filters, fields);
  const rest = { top, offset, diverse: true, threshold: "auto", ...(filter ? { filter } : {}) };
  const query = state.query.trim();
  const texts = query && state.language ? { language: state.language } : {};
  if (state.like && !state.picture && !query) return { path: "/similar", body: { id: state.like, ...rest } };
  if (!state.like && !state.picture) return { path: "/search", body: { query, ...texts, ...rest } };
  const terms = query ? parseQuery(query) : [];
  if (state.picture) terms.unshift({ image: await dataUri(state.picture), weight: 1 });
  if (state.like) terms.unshift({ id: state.like, weight: 1 });
  return { path: "/search", body: { terms, ...texts, ...rest } };
}
