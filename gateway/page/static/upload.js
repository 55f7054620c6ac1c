// Adding photographs: each file on its way by itself, with its own outcome.

import { address, collectionPath, post, sentence } from "./api.js";
import { announce, button, make, openDialog, sheetTop } from "./elements.js";
import { askForKey, forgetKey, keyHeader } from "./key.js";
import { number, t } from "./language.js";

const AT_ONCE = 3;
const TRIES = 5;

/** The sheet that adds to a collection, or makes one first where `name` is ""; `changed` is called with the name. */
export function openUpload(name, changed) {
  const dialog = document.getElementById("sheet");
  dialog.className = "sheet";
  if (name) showTarget(dialog, name, changed);
  else showNew(dialog, changed);
  openDialog(dialog);
}

function showNew(dialog, changed) {
  const field = make("input", { class: "text", required: true, maxlength: "100", autocomplete: "off", dir: "ltr" });
  const wrong = make("p", { class: "wrong", role: "alert" });
  const form = make("form", {},
    make("label", { class: "field" }, t("newCollection"), field),
    wrong,
    make("button", { class: "button" }, t("makeCollection")),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const made = await post("collections", { name: field.value.trim() });
      changed(made.name);
      showTarget(dialog, made.name, changed);
    } catch (error) {
      wrong.textContent = error.message;
    }
  });
  dialog.replaceChildren(sheetTop(t("makeCollection"), dialog, t("close")), form);
}

function showTarget(dialog, name, changed) {
  const picker = make("input", { type: "file", multiple: true, class: "unseen", tabindex: "-1", "aria-hidden": "true" });
  const list = make("ul", { class: "outcomes", role: "list" });
  const state = make("p", { role: "status" });
  const run = new Upload(name, list, state, changed);
  const target = make("div", { class: "target" },
    make("p", {}, t("uploadHint")), button(t("uploadPick"), () => picker.click(), "button"), picker);
  picker.addEventListener("change", () => {
    run.add([...picker.files]);
    picker.value = "";
  });
  target.addEventListener("dragover", (event) => {
    event.preventDefault();
    target.classList.add("over");
  });
  target.addEventListener("dragleave", () => target.classList.remove("over"));
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    target.classList.remove("over");
    run.add([...event.dataTransfer.files]);
  });
  dialog.addEventListener("close", () => run.stop(), { once: true });
  dialog.replaceChildren(sheetTop(t("uploadTitle", { name }), dialog, t("close")), target, run.bar, state, list);
}

class Upload {
  constructor(collection, list, state, changed) {
    Object.assign(this, { collection, list, state, changed, waiting: [], calls: new Set(), stopped: false });
    Object.assign(this, { total: 0, added: 0, failed: 0 });
    this.bar = make("progress", { hidden: true, max: "1", value: "0", "aria-label": t("upload") });
  }

  add(files) {
    for (const file of files) {
      const row = make("li", {}, make("span", { class: "file" }, file.name), make("span", { class: "how" }, t("uploadWaiting")));
      this.list.append(row);
      this.waiting.push({ file, row });
    }
    this.total += files.length;
    this.stopped = false;
    this.bar.hidden = false;
    this.tell();
    this.work();
  }

  stop() {
    this.stopped = true;
    for (const { row } of this.waiting.splice(0)) this.end(row, "failed", t("uploadStopped"));
    for (const call of this.calls) call.abort();
  }

  work() {
    while (this.calls.size < AT_ONCE && this.waiting.length) {
      const { file, row } = this.waiting.shift();
      const call = new AbortController();
      this.calls.add(call);
      this.one(file, row, call.signal).finally(() => {
        this.calls.delete(call);
        this.tell();
        this.work();
        if (!this.calls.size && !this.waiting.length && this.added) this.changed(this.collection);
      });
    }
  }

  async one(file, row, signal) {
    const how = row.querySelector(".how");
    const progress = (share) => {
      how.textContent = share < 1 ? t("uploadSending", { percent: number(share, { style: "percent" }) }) : t("uploadReading");
    };
    try {
      for (let tries = 1; ; tries += 1) {
        const { status, body, retryAfter } = await send(this.collection, file, progress, signal);
        if ([429, 503].includes(status) && tries < TRIES) {
          await new Promise((resolve) => { setTimeout(resolve, Math.max(1, retryAfter) * 1000); });
          continue;
        }
        if (status >= 400) throw new Error(sentence(body, status));
        const [item] = JSON.parse(body).items;
        if (item.status !== "added") throw new Error(item.message || item.code);
        this.end(row, "added", t("uploadAdded"));
        return;
      }
    } catch (error) {
      this.end(row, "failed", this.stopped ? t("uploadStopped") : t("uploadFailed"), this.stopped ? "" : error.message);
    }
  }

  end(row, status, said, why = "") {
    if (status === "added") this.added += 1;
    else this.failed += 1;
    const how = row.querySelector(".how");
    how.textContent = said;
    how.classList.add(status);
    if (why) row.append(make("span", { class: "why" }, why));
  }

  tell() {
    const done = this.added + this.failed;
    this.bar.value = done / this.total;
    this.state.textContent = done < this.total
      ? t("uploadUnderWay", { done, n: this.total })
      : t("uploadDone", { added: this.added, failed: this.failed });
    if (done === this.total) announce(this.state.textContent);
  }
}

/** One file, by a form as a browser sends it; XMLHttpRequest, because fetch does not tell how much has gone. */
async function send(collection, file, progress, signal) {
  for (;;) {
    const key = keyHeader();
    const answer = await sendOnce(collection, file, key, progress, signal);
    if (answer.status !== 401) return answer;
    if (key.Authorization === keyHeader().Authorization) {
      forgetKey();
      await askForKey(Boolean(key.Authorization), signal);
    }
  }
}

function sendOnce(collection, file, headers, progress, signal) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    const form = new FormData();
    form.append("file", file);
    call.open("POST", address(collectionPath(collection, "/items")));
    for (const [name, value] of Object.entries(headers)) call.setRequestHeader(name, value);
    call.upload.onprogress = (event) => progress(event.loaded / event.total);
    call.onload = () => resolve({
      status: call.status, body: call.responseText, retryAfter: Number(call.getResponseHeader("Retry-After")) || 0,
    });
    call.onerror = () => reject(new Error(t("offline")));
    call.onabort = () => reject(new Error(t("uploadStopped")));
    signal.addEventListener("abort", () => call.abort());
    call.send(form);
  });
}
