// Filters: what each row has (kind, width, date), and the fields that the collection declares.

import { button, make } from "./elements.js";
import { t } from "./language.js";

const WIDTHS = ["640", "1280", "1920", "3840"];
const DAY = 86_400;

/** The filter of the API for what stands in the address; null for none. `fields` are types by name. */
export function filterOf(filters, fields) {
  const wanted = {};
  const add = (name, comparison) => { wanted[name] = { ...wanted[name], ...comparison }; };
  for (const [key, value] of Object.entries(filters)) {
    const [, name, side] = /^field\.(.+?)(?:\.(min|max))?$/.exec(key) ?? [];
    const type = name && fields[name];
    if (key === "kind") add("kind", { $eq: value });
    else if (key === "width" && Number(value)) add("width", { $gte: Number(value) });
    else if (key === "from" && day(value) !== null) add("taken", { $gte: day(value) });
    else if (key === "to" && day(value) !== null) add("taken", { $lt: day(value) + DAY });
    else if (type === "text") add(name, { $contains: value });
    else if (type === "boolean") add(name, { $eq: value === "true" });
    else if (type && side && value !== "" && Number.isFinite(Number(value))) {
      const bound = type === "integer" ? Math[side === "min" ? "ceil" : "floor"](Number(value)) : Number(value);
      add(name, { [side === "min" ? "$gte" : "$lte"]: bound });
    }
  }
  return Object.keys(wanted).length ? wanted : null;
}

/** Fills the form; `changed` is called with the filters whenever one is. */
export function showFilters(form, filters, fields, changed) {
  const choice = (key, label, options) => labelled(label, fill(make("select", { name: key }), options, filters[key] ?? ""));
  const entry = (key, label, type, extra = {}) =>
    labelled(label, make("input", { class: "text", name: key, type, value: filters[key] ?? "", ...extra }));
  form.replaceChildren(
    choice("kind", t("kind"), [["", t("any")], ["image", t("kindImage")], ["moment", t("kindMoment")]]),
    choice("width", t("width"), [["", t("any")], ...WIDTHS.map((width) => [width, width])]),
    entry("from", t("takenFrom"), "date"),
    entry("to", t("takenTo"), "date"),
    ...Object.entries(fields).flatMap(([name, type]) => {
      const key = `field.${name}`;
      if (type === "text") return [entry(key, name, "text", { dir: "auto", maxlength: "500" })];
      if (type === "boolean") return [choice(key, name, [["", t("any")], ["true", t("yes")], ["false", t("no")]])];
      const step = type === "integer" ? "1" : "any";
      return [
        entry(`${key}.min`, t("fieldAtLeast", { name }), "number", { step }),
        entry(`${key}.max`, t("fieldAtMost", { name }), "number", { step }),
      ];
    }),
    button(t("noFilters"), () => {
      form.querySelectorAll("input, select").forEach((each) => { each.value = ""; });
      changed({});
    }),
  );
  form.onsubmit = (event) => event.preventDefault();
  form.oninput = (event) => { if (!event.isComposing) changed(entered(form)); };
}

function entered(form) {
  const given = [...new FormData(form)].filter(([, value]) => value !== "");
  return Object.fromEntries(given);
}

function labelled(label, field) {
  return make("label", {}, make("span", { dir: "auto" }, label), field);
}

/** Options of a select, as [value, label]. */
export function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, label]) => make("option", { value }, label)));
  select.value = chosen;
  return select;
}

function day(text) {
  const milliseconds = Date.parse(`${text}T00:00:00Z`);
  return Number.isNaN(milliseconds) ? null : milliseconds / 1000;
}
