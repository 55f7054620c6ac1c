// The key with which the gateway is called. It lives as long as the tab, and never stands in an address.

import { make, openDialog } from "./elements.js";
import { t } from "./language.js";

const PLACE = "babelclip.key";
let asking = null;

export function keyHeader() {
  const key = sessionStorage.getItem(PLACE);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

export function hasKey() {
  return sessionStorage.getItem(PLACE) !== null;
}

export function forgetKey() {
  sessionStorage.removeItem(PLACE);
}

/** Shows the dialog until a key is entered; calls that come meanwhile wait for the same one. */
export function askForKey(wasWrong, signal) {
  asking ??= ask(wasWrong).finally(() => { asking = null; });
  if (!signal) return asking;
  const left = new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  return Promise.race([asking, left]);
}

function ask(wasWrong) {
  return new Promise((resolve) => {
    const dialog = document.getElementById("key-dialog");
    const field = make("input", {
      class: "text", id: "key-field", type: "password", autocomplete: "current-password", required: true, dir: "ltr",
      "aria-describedby": "key-says",
    });
    const says = make("p", { id: "key-says", class: wasWrong ? "wrong" : "" }, t(wasWrong ? "keyWrong" : "keyWanted"));
    const form = make("form", {},
      make("h2", { id: "key-title" }, t("key")),
      says,
      make("label", { class: "field" }, t("keyField"), field),
      make("div", { class: "row" }, make("button", { class: "button" }, t("keyUse"))),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const key = field.value.trim();
      if (!/^[\x21-\x7e]+$/.test(key)) {  // What no header can carry is no key.
        says.textContent = t("keyWrong");
        says.className = "wrong";
        return;
      }
      sessionStorage.setItem(PLACE, key);
      dialog.close();
      resolve();
    });
    dialog.replaceChildren(form);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    openDialog(dialog, field);
  });
}
