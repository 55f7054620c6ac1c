// The language of the text that is searched for: a choice, where the model of the collection is told one.

import { get } from "./api.js";
import { fill } from "./filters.js";
import { languageName } from "./language.js";

const select = document.getElementById("spoken");
let told = {};

/** Reads which languages the models are told, by the models' names. */
export async function readSpoken() {
  try {
    const { data } = await get("models");
    // A model that lists languages without a default one is not told any: it reads all of them as they are.
    told = Object.fromEntries(data.filter((model) => model.default_language).map((model) => [model.id, model]));
  } catch {
    told = {}; // The search says what is wrong, if it fails as well; until then the model's default holds.
  }
}

/** Shows the choice for a collection; "" stands for the default language of its model. */
export function showSpoken(collection, chosen) {
  const model = told[collection.model];
  select.hidden = !model;
  if (!model) return;
  const own = model.default_language;
  const codes = [own, ...model.languages.filter((code) => code !== own)];
  const named = codes.map((code) => [code === own ? "" : code, languageName(code)]);
  fill(select, named.sort(([, one], [, other]) => one.localeCompare(other)), chosen);
}

/** Binds the choice; `changed` is called with what was chosen. */
export function bindSpoken(changed) {
  select.addEventListener("change", () => changed(select.value));
}
