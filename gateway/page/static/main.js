// The page: what the address says is searched for and shown; what somebody does changes the address.

import { get, itemPath, wasAborted } from "./api.js";
import { showChips, bindEntry } from "./entry.js";
import { announce } from "./elements.js";
import { fill, showFilters } from "./filters.js";
import { Found, forgetAll, recall, remember } from "./found.js";
import { Grid } from "./grid.js";
import { openGroups } from "./groups.js";
import { apply as applyLanguage, t } from "./language.js";
import * as notes from "./notes.js";
import { applyTheme, bindSettings, hasShortcuts } from "./settings.js";
import { bindSpoken, readSpoken, showSpoken } from "./spoken.js";
import { read, searches, searchKey, write } from "./state.js";
import { openUpload } from "./upload.js";
import { Viewer } from "./viewer.js";

const byId = (id) => document.getElementById(id);
let collections = [];
let state = read(location.search);
let found = null;
let shownItem = "";

const grid = new Grid(byId("results"), {
  open: (index) => go({ item: found.hits[index].id }),
  alike: (index) => alike(found.hits[index].id),
  more: () => more(),
  leave: () => byId("field").focus(),
});
const viewer = new Viewer(byId("viewer"), {
  alike,
  go: (step) => {
    const to = found?.hits[indexOf(state.item) + step];
    if (to) go({ item: to.id }, { replace: true });
  },
  openItem: (id) => go({ item: id }, { replace: true }),
  closed: () => {
    const index = indexOf(shownItem);
    shownItem = "";
    if (state.item) {
      if (history.state?.opened) history.back();
      else go({ item: "" }, { replace: true });
    }
    if (index >= 0) grid.focus(index);
  },
});

/** Changes the state, and with it the address; `replace` makes no new entry for the back button. */
function go(change, { replace = false } = {}) {
  history.replaceState({ ...history.state, y: scrollY }, "");
  const before = state;
  state = { ...state, ...change };
  const opened = replace ? history.state?.opened : Boolean(state.item && !before.item);
  history[replace ? "replaceState" : "pushState"]({ y: 0, opened }, "", write(state));
  show({ y: searchKey(before) === searchKey(state) ? null : 0 });
}

function alike(id) {
  viewer.dialog.open && (state = { ...state, item: "" }, viewer.close());
  go({ like: id, query: "", picture: "", item: "" });
}

/** Shows the state; `y` is where to scroll, null for nowhere. */
function show({ y = null } = {}) {
  const collection = current();
  if (!collection) return;
  byId("collection").value = collection.name;
  showSpoken(collection, state.language);
  byId("filter-count").textContent = String(Object.keys(state.filters).length);
  byId("filter-count").hidden = !Object.keys(state.filters).length;
  showChips(state, collection.name);
  document.title = [state.query.trim(), collection.name, "babelclip"].filter(Boolean).join(" · ");
  search(y);
  showItem();
}

function search(y) {
  const key = searchKey(state);
  if (found && searchKey(found.state) === key) return;
  found?.abort();
  if (!searches(state)) greet();
  if (!searches(state) && !current().items) { // There is nothing to show, or nobody knows.
    found = null;
    grid.clear();
    busy(false);
    return;
  }
  const known = recall(key);
  found = known ?? new Found(state, current().fields ?? {});
  if (known) {
    grid.show(found);
    tell(found);
    if (y !== null) scrollTo(0, y);
    return;
  }
  remember(key, found);
  more(y ?? 0);
}

function greet() {
  notes.greet(current(), () => openUpload(current().name, changed));
}

/** Says what came of a search; what is shown without one has been said by the greeting, unless it is nothing. */
function tell(results) {
  if (searches(results.state) || !results.hits.length) notes.tellFound(results);
  else notes.tellEnd(results);
}

/** Loads the next page of the results; the first one takes the place of what was shown before. */
async function more(y = null) {
  const mine = found;
  const first = mine.hits.length === 0;
  if (mine.loading || mine.broken) return;
  busy(true);
  try {
    await mine.load();
    if (found !== mine) return;
    if (first) {
      tell(mine);
      if (y !== null) scrollTo(0, y);
      grid.show(mine);
    } else {
      grid.grow();
      tell(mine);
    }
    if (state.item && shownItem === state.item) showItem();
  } catch (error) {
    if (found !== mine || wasAborted(error)) return;
    mine.broken = true;
    if (first) grid.clear();
    notes.tellError(error.message, () => {
      mine.broken = false;
      if (searches(mine.state)) notes.tellNothing();
      else greet();
      more(y);
    });
  } finally {
    if (found === mine) busy(false);
  }
}

async function showItem() {
  const id = state.item;
  if (!id) {
    viewer.close();
    return;
  }
  const index = indexOf(id);
  const beside = { before: index > 0, after: index >= 0 && index < found.hits.length - 1 };
  try {
    if (index >= 0 || shownItem !== id) {
      shownItem = id;
      const hit = index >= 0 ? found.hits[index] : await get(itemPath(current().name, id));
      if (state.item === id) viewer.show(current().name, { ...hit, id }, beside);
    }
  } catch (error) {
    shownItem = "";
    announce(error.message);
    go({ item: "" }, { replace: true });
  }
}

function indexOf(id) {
  return found && id ? found.hits.findIndex((hit) => hit.id === id) : -1;
}

function current() {
  return collections.find((each) => each.name === state.collection) ?? null;
}

function busy(is) {
  byId("busy").hidden = !is;
  byId("results").setAttribute("aria-busy", String(is));
}

/** A collection has other photographs than before. */
async function changed(name) {
  forgetAll();
  found = null;
  await load();
  if (state.collection !== name) go({ collection: name, query: "", language: "", like: "", picture: "", filters: {}, item: "" });
  else show();
}

async function load() {
  try {
    ({ collections } = await get("collections"));
  } catch (error) {
    collections = [];
    if (error.status === 404) notes.hello(t("collectionsOff"), error.message);
    else notes.tellError(error.message, start);
    return false;
  }
  readSpoken().then(() => { if (current()) showSpoken(current(), state.language); });
  const select = byId("collection");
  fill(select, collections.map(({ name }) => [name, name]), state.collection);
  select.disabled = collections.length < 2;
  select.hidden = !collections.length;
  return true;
}

function filters() {
  showFilters(byId("filters"), state.filters, current()?.fields ?? {}, (given) => go({ filters: given }, { replace: true }));
}

/** Reads the collections, and shows what the address says. */
async function start() {
  notes.tellNothing();
  if (!(await load())) return;
  if (!collections.length) {
    notes.hello(t("noCollections"), t("noCollectionsHint"));
    return;
  }
  if (state.collection && !current()) {
    announce(t("noSuchCollection", { name: state.collection }));
    state = read("");
  }
  if (!state.collection) state.collection = collections[0].name;
  history.replaceState({ y: history.state?.y ?? 0 }, "", write(state));
  filters();
  show({ y: history.state.y });
}

function bind() {
  bindEntry({ state: () => state, go, failed: (message) => notes.tellError(message, () => notes.tellNothing()) });
  bindSettings(() => {
    filters();
    found = null;
    show();
  });
  byId("collection").addEventListener("change", (event) => {
    go({ collection: event.target.value, language: "", like: "", filters: {}, item: "" });
    filters();
  });
  bindSpoken((language) => go({ language, item: "" }));
  byId("filter-button").addEventListener("click", (event) => {
    const panel = byId("filters");
    panel.hidden = !panel.hidden;
    event.currentTarget.setAttribute("aria-expanded", String(!panel.hidden));
    if (!panel.hidden) panel.querySelector("select, input")?.focus();
  });
  byId("upload-button").addEventListener("click", () => openUpload(current()?.name ?? "", changed));
  byId("groups-button").addEventListener("click", () => {
    if (current()) openGroups(current().name, (id) => go({ item: id }));
  });
  byId("home").addEventListener("click", (event) => {
    event.preventDefault();
    go({ query: "", like: "", picture: "", filters: {}, item: "" });
    filters();
    byId("field").focus();
  });
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    if (found?.hits.length) grid.focus(grid.current);
    else byId("results").focus();
  });
  addEventListener("popstate", (event) => {
    state = read(location.search);
    state.collection ||= collections[0]?.name ?? "";
    filters();
    show({ y: event.state?.y ?? 0 });
  });
  addEventListener("keydown", (event) => {
    if (!hasShortcuts() || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input, select, textarea")) return;
    const tile = event.target.closest(".tile");
    if (event.key === "/") byId("field").focus();
    else if (event.key.toLowerCase() === "m" && tile) alike(found.hits[Number(tile.dataset.index)].id);
    else return;
    event.preventDefault();
  });
  addEventListener("scroll", () => document.querySelector(".bar").classList.toggle("lifted", scrollY > 4), { passive: true });
}

history.scrollRestoration = "manual";
applyTheme();
applyLanguage();
bind();
start();
