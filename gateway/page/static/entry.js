// What is searched by: the text as it is typed, a picture that is dropped, pasted or picked, and chips for the latter.

import { itemPath } from "./api.js";
import { make, tool } from "./elements.js";
import { t } from "./language.js";
import { find, keep, pictureOf } from "./pictures.js";
import { releaseAll, show } from "./thumbnails.js";

const PAUSE = 220; // milliseconds without typing, after which is searched
const SETTLED = 1500; // milliseconds after which further typing is a new entry for the back button
const field = document.getElementById("field");
const chips = document.getElementById("chips");
const clear = document.getElementById("clear");
let calls = null;
let shownQuery = ""; // of the state, as the field last had it: what was typed since then is not in the state yet
let shownChips = "";
let pictureUrl = "";

/** Binds the field and the page; `go` changes the state, `failed` says what went wrong. */
export function bindEntry(given) {
  calls = given;
  let pause = 0;
  let settle = 0;
  let settled = true;
  const enter = () => {
    clearTimeout(pause);
    if (field.value === calls.state().query) return;
    shownQuery = field.value;
    calls.go({ query: field.value, item: "" }, { replace: !settled });
    settled = false;
    clearTimeout(settle);
    settle = setTimeout(() => { settled = true; }, SETTLED);
  };
  const typed = () => {
    clearTimeout(pause);
    pause = setTimeout(enter, PAUSE);
    clear.hidden = !field.value;
  };
  // While an input method composes a word, what stands in the field is no word yet.
  field.addEventListener("input", (event) => { if (!event.isComposing) typed(); });
  field.addEventListener("compositionend", typed);
  field.addEventListener("blur", () => { settled = true; });
  document.getElementById("search").addEventListener("submit", (event) => {
    event.preventDefault();
    enter();
    settled = true;
  });
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape" && field.value) {
      event.preventDefault();
      empty();
    } else if (event.key === "Backspace" && !field.value && chips.firstChild) {
      calls.go({ picture: "", like: "" });
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      document.getElementById("skip").click();
    }
  });
  clear.addEventListener("click", () => {
    empty();
    field.focus();
  });
  bindPictures();
  // Somebody may have typed before this script was there.
  shownQuery = calls.state().query;
  if (field.value) typed();
  else field.value = shownQuery;
}

function empty() {
  field.value = "";
  calls.go({ query: "", item: "" });
}

function bindPictures() {
  const picker = document.getElementById("file");
  const veil = document.getElementById("drop");
  document.getElementById("pick").addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => {
    if (picker.files.length) take(picker.files[0]);
    picker.value = "";
  });
  addEventListener("paste", (event) => {
    const picture = pictureOf(event.clipboardData);
    if (!picture) return;
    event.preventDefault();
    take(picture);
  });
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files") && !document.querySelector("dialog[open]");
  addEventListener("dragover", (event) => {
    event.preventDefault(); // A browser would open the file instead.
    veil.hidden = !carriesFiles(event);
  });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) veil.hidden = true; });
  addEventListener("drop", (event) => {
    veil.hidden = true;
    if (event.defaultPrevented) return;
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file && !document.querySelector("dialog[open]")) take(pictureOf(event.dataTransfer) ?? file);
  });
}

async function take(file) {
  try {
    calls.go({ picture: await keep(file), like: "", item: "" });
    field.focus();
  } catch (error) {
    calls.failed(error.message);
  }
}

/** The field and the chips as the state has them. */
export function showChips(state, collection) {
  // What is typed while anything else is shown anew, as the collections once they are read, must not be lost.
  if (state.query !== shownQuery) field.value = state.query;
  shownQuery = state.query;
  clear.hidden = !field.value;
  const wanted = JSON.stringify([state.picture, state.like, collection, document.documentElement.lang]);
  if (wanted === shownChips) return;
  shownChips = wanted;
  releaseAll(chips);
  if (pictureUrl) URL.revokeObjectURL(pictureUrl);
  pictureUrl = "";
  chips.replaceChildren();
  if (state.picture) {
    const picture = find(state.picture);
    if (!picture) {
      calls.go({ picture: "" }, { replace: true });
      calls.failed(t("pictureGone"));
      return;
    }
    pictureUrl = URL.createObjectURL(picture);
    chip(t("chipPicture"), { picture: "" }).src = pictureUrl;
  }
  if (state.like) show(chip(t("chipAlike"), { like: "" }), itemPath(collection, state.like, "/thumbnail"));
  chips.hidden = !chips.firstChild;
}

function chip(label, without) {
  const image = make("img", { alt: label });
  const remove = tool("close", `${t("remove")}: ${label}`);
  remove.addEventListener("click", () => {
    calls.go(without);
    field.focus();
  });
  chips.append(make("li", { class: "chip" }, image, remove));
  return image;
}
