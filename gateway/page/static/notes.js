// What is said above the results: a greeting, how many fit, that nothing does, and what went wrong.

import { announce, button, make } from "./elements.js";
import { t } from "./language.js";

const place = document.getElementById("note");
const end = document.getElementById("end");

/** Nothing is searched for: what there is to search. */
export function greet(collection, add) {
  end.hidden = true;
  if (typeof collection.items !== "number") { // Its index cannot be read at the moment.
    hello(collection.name, t("unavailable"));
    return;
  }
  const empty = !collection.items;
  hello(
    empty ? t("helloEmpty") : t("helloTitle", { n: collection.items }),
    t(empty ? "helloEmptyHint" : "helloHint"),
    empty ? button(t("upload"), add) : null,
  );
}

/** Nothing can be searched. */
export function hello(title, hint, action = null) {
  end.hidden = true;
  place.replaceChildren(make("div", { class: "hello" }, make("h2", {}, title), make("p", { dir: "auto" }, hint), action));
  announce(title);
}

/** What came of a search, as far as it is loaded. */
export function tellFound(found) {
  const { fitting, hits, done, threshold, state } = found;
  tellEnd(found);
  if (!hits.length) {
    none(t(threshold === null ? "nothingAtAll" : "nothingFits"), Object.keys(state.filters).length ? t("nothingAtAllHint") : "");
    return;
  }
  if (threshold !== null && fitting === 0) {
    const query = state.query.trim();
    none(query && !state.picture && !state.like ? t("nothingFitsQuery", { query }) : t("nothingFits"), t("nothingFitsHint"));
    return;
  }
  let said = t(done ? "found" : "foundSoFar", { n: hits.length });
  if (threshold !== null) said = fitting < hits.length || done ? t("fit", { n: fitting }) : t("fitSoFar", { n: fitting });
  if (place.textContent === said) return;
  place.replaceChildren(make("p", { class: "say" }, said));
  announce(said);
}

/** Whether these were all. */
export function tellEnd({ done, hits }) {
  end.hidden = !done || !hits.length;
  end.textContent = t("end");
}

/** What went wrong, beside the results that are there. */
export function tellError(message, again) {
  place.replaceChildren(make("div", { class: "wrong", role: "alert" }, message, button(t("retry"), again)));
}

export function tellNothing() {
  end.hidden = true;
  place.replaceChildren();
}

function none(title, hint) {
  if (place.querySelector(".none h2")?.textContent === title) return;
  place.replaceChildren(make("div", { class: "none" }, make("h2", { dir: "auto" }, title), make("p", {}, hint)));
  announce(`${title}. ${hint}`);
}
