// One photograph among the results, and the line.

import { icon, make, tool } from "./elements.js";
import { clock, number, t } from "./language.js";
import { show } from "./thumbnails.js";

/** What a hit is called: its caption, or the last part of its source, or the id that somebody gave it. */
export function nameOf(hit) {
  const source = String(hit.source ?? "").replace(/^upload:/, "");
  return hit.caption || source.split(/[/\\#]/).at(-1) || givenId(hit.id);
}

function givenId(id) {
  return !id || /^[0-9a-f]{32}$/.test(id) ? t("unnamed") : id;
}

/** How well a hit matches, in words; "" without a calibration. */
export function matchOf(hit) {
  if (typeof hit.match !== "number") return "";
  return t("match", { percent: number(hit.match, { style: "percent" }) });
}

/** A tile; `index` is its place among the results, `total` how many there are, -1 while that is unknown. */
export function makeTile(hit, index, total, beyond) {
  const name = nameOf(hit);
  const copies = hit.duplicates?.length ?? 0;
  const image = make("img", { alt: "", decoding: "async", draggable: "false" });
  const noPicture = make("span", { class: "no-picture", hidden: true }, name);
  const open = make("button", { type: "button", class: "open", "aria-label": labelOf(hit, beyond, copies), tabindex: "-1" },
    image, noPicture,
    make("span", { class: "about", "aria-hidden": "true" },
      make("span", { class: "name" }, name),
      make("span", { class: "match" }, typeof hit.match === "number" ? number(hit.match, { style: "percent" }) : ""),
    ),
  );
  const alike = tool("alike", t("alike"), "alike");
  alike.tabIndex = -1;
  const tile = make("li", {
    class: `tile${copies ? " pile" : ""}${beyond ? " beyond" : ""}`,
    "aria-posinset": String(index + 1), "aria-setsize": String(total), "data-index": String(index),
  }, open, badges(hit, copies), alike);
  if (hit.thumbnail) {
    show(image, hit.thumbnail, () => { noPicture.hidden = false; });
  } else {
    noPicture.hidden = false;
  }
  return tile;
}

/** The line between what fits and what does not. */
export function makeLine() {
  return make("li", { class: "threshold" }, make("span", {}, t("line")));
}

function labelOf(hit, beyond, copies) {
  const match = matchOf(hit);
  let label = match ? t("tileMatch", { name: nameOf(hit), match }) : t("tile", { name: nameOf(hit) });
  if (hit.kind === "moment") label = t("tileMoment", { name: label, begin: clock(hit.begin ?? 0), end: clock(hit.end ?? 0) });
  if (beyond) label = t("tileBeyond", { name: label });
  return copies ? `${label}, ${t("more", { n: copies })}` : label;
}

function badges(hit, copies) {
  const made = make("span", { class: "badges", "aria-hidden": "true" });
  if (copies) made.append(make("span", { class: "badge" }, `+${number(copies)}`));
  if (hit.kind === "moment") made.append(make("span", { class: "badge" }, icon("play"), clock(hit.begin ?? 0)));
  return made;
}
