// The page's own words, in the language of the browser or the one that was chosen.
// Another language is a file like strings/en.js, and a line here.

import ar from "./strings/ar.js";
import de from "./strings/de.js";
import en from "./strings/en.js";

const LANGUAGES = { en, de, ar };
const PLACE = "babelclip.language";
const RIGHT_TO_LEFT = new Set(["ar", "fa", "he", "ur"]);

export const names = Object.fromEntries(Object.entries(LANGUAGES).map(([code, strings]) => [code, strings.name]));

let current = "en";
let plurals = new Intl.PluralRules("en");

/** The code that was chosen, or "" for the browser's own. */
export function chosen() {
  const code = localStorage.getItem(PLACE) ?? "";
  return code in LANGUAGES ? code : "";
}

/** Speaks a language from now on; "" for the browser's. */
export function choose(code) {
  if (code) localStorage.setItem(PLACE, code);
  else localStorage.removeItem(PLACE);
  apply();
}

/** Puts the words of the language into the document. */
export function apply() {
  const wanted = [chosen(), ...navigator.languages.map((tag) => tag.split("-")[0].toLowerCase())];
  current = wanted.find((code) => code in LANGUAGES) ?? "en";
  plurals = new Intl.PluralRules(current);
  document.documentElement.lang = current;
  document.documentElement.dir = RIGHT_TO_LEFT.has(current) ? "rtl" : "ltr";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", t(element.dataset.label));
    if (element.matches("button")) element.title = t(element.dataset.label);
  }
  for (const element of document.querySelectorAll("[data-placeholder]")) {
    element.placeholder = t(element.dataset.placeholder);
  }
}

/** A text, with what stands in braces filled in; where it has several forms, the one for `n`. */
export function t(name, values = {}) {
  let text = LANGUAGES[current][name] ?? en[name];
  if (typeof text === "object") text = text[plurals.select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (_, key) => {
    const value = values[key];
    return typeof value === "number" ? number(value) : String(value);
  });
}

export function number(value, options = {}) {
  return new Intl.NumberFormat(current, options).format(value);
}

/** What a language is called in the page's own. */
export function languageName(code) {
  return new Intl.DisplayNames([current], { type: "language", fallback: "code" }).of(code);
}

export function date(seconds) {
  return new Intl.DateTimeFormat(current, { dateStyle: "long", timeZone: "UTC" }).format(seconds * 1000);
}

/** Seconds of a film as 1:02:03. */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 60) % 60, whole % 60].map((part) => String(part).padStart(2, "0"));
  const hours = Math.floor(whole / 3600);
  return hours ? `${hours}:${parts.join(":")}` : `${Math.floor(whole / 60)}:${parts[1]}`;
}
