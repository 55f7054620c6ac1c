// One photograph, or a moment of a film, in full, with what is known of it.

import { address, get, itemPath, request, wasAborted } from "./api.js";
import { button, make, openDialog, tool } from "./elements.js";
import { hasKey } from "./key.js";
import { clock, date, number, t } from "./language.js";
import { release, releaseAll, show } from "./thumbnails.js";
import { nameOf } from "./tile.js";

export class Viewer {
  /** `alike` is called with an id, `go` with -1 or 1, `openItem` with an id, `closed` when it was closed. */
  constructor(dialog, { alike, go, openItem, closed }) {
    this.dialog = dialog;
    this.calls = { alike, go, openItem, closed };
    this.control = new AbortController();
    this.url = "";
    dialog.addEventListener("close", () => {
      this.free();
      dialog.replaceChildren();
      closed();
    });
    dialog.addEventListener("keydown", (event) => this.pressed(event));
  }

  /** Shows a hit; `before` and `after` say whether there are neighbours. */
  show(collection, hit, { before = false, after = false } = {}) {
    const had = document.activeElement?.dataset?.step;
    this.free();
    this.collection = collection;
    this.hit = hit;
    const stage = make("div", { class: "stage" });
    this.picture(stage, hit);
    const steps = [[-1, "back", "previous", before], [1, "next", "next", after]].filter(([, , , there]) => there);
    for (const [step, drawing, label] of steps) {
      const made = tool(drawing, t(label), step < 0 ? "before" : "after", "turns");
      made.dataset.step = String(step);
      made.addEventListener("click", () => this.calls.go(step));
      stage.append(made);
    }
    this.dialog.replaceChildren(stage, this.facts(hit));
    openDialog(this.dialog);
    const same = had && this.dialog.querySelector(`[data-step="${had}"]`);
    (same || this.dialog.querySelector(".facts .tool")).focus({ preventScroll: true });
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  picture(stage, hit) {
    if (hit.kind === "moment" && hit.content) {
      this.film(stage, hit);
      return;
    }
    const image = make("img", { alt: nameOf(hit) });
    const missing = () => { if (image.isConnected) image.replaceWith(make("p", {}, t("noPicture"))); };
    stage.append(image);
    if (hit.thumbnail) show(image, hit.thumbnail, missing);
    else if (!hit.content) setTimeout(missing);
    if (!hit.content) return;
    // The thumbnail stands until the original is there, and stays where a browser cannot show that.
    const original = make("img", { alt: nameOf(hit) });
    original.addEventListener("load", () => {
      if (!image.isConnected) return;
      release(image);
      image.replaceWith(original);
    });
    show(original, hit.content, () => { if (!hit.thumbnail) missing(); });
    this.original = original;
  }

  async film(stage, hit) {
    const video = make("video", { controls: true, playsinline: true, preload: "metadata", "aria-label": nameOf(hit) });
    const says = make("p", { role: "status" });
    const fragment = `#t=${hit.begin ?? 0}${hit.end ? `,${hit.end}` : ""}`;
    video.addEventListener("error", () => {
      video.remove();
      says.textContent = t("cannotPlay");
      stage.append(says);
    });
    stage.append(video);
    try {
      video.src = hasKey() ? (await this.fetched(hit.content, stage, says)) + fragment : address(hit.content) + fragment;
    } catch (error) {
      if (wasAborted(error)) return;
      video.remove();
      says.textContent = error.message;
      stage.append(says);
    }
  }

  /** A film behind a key as a blob: a <video> cannot send one. */
  async fetched(path, stage, says) {
    const answer = await request(path, { signal: this.control.signal });
    const total = Number(answer.headers.get("Content-Length"));
    const parts = [];
    let size = 0;
    stage.append(says);
    for (const reader = answer.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      size += value.length;
      if (total) says.textContent = t("loading", { percent: number(size / total, { style: "percent" }) });
    }
    says.remove();
    this.url = URL.createObjectURL(new Blob(parts, { type: answer.headers.get("Content-Type") ?? "" }));
    return this.url;
  }

  facts(hit) {
    const close = tool("close", t("close"));
    close.addEventListener("click", () => this.dialog.close());
    const alike = make("button", { type: "button", class: "button" }, t("alike"));
    alike.addEventListener("click", () => this.calls.alike(hit.id));
    const actions = make("div", { class: "row" }, alike);
    // A link cannot send a key; a blob of the picture can be opened where one is needed.
    if (hit.content && !hasKey()) {
      actions.append(make("a", { class: "plain", href: address(hit.content), target: "_blank", rel: "noopener" }, t("original")));
    }
    return make("div", { class: "facts" },
      make("div", { class: "top" }, make("h2", { id: "viewer-title" }, nameOf(hit)), close),
      actions,
      hit.content || hit.kind !== "image" ? null : make("p", {}, t("noOriginal")),
      details(hit),
      hit.duplicates?.length ? this.burst(hit) : null,
    );
  }

  /** The photographs that were folded into this one. */
  burst(hit) {
    const strip = make("ul", { class: "strip", role: "list" });
    for (const id of hit.duplicates) {
      const image = make("img", { alt: "" });
      const open = button("", () => this.calls.openItem(id), "");
      open.setAttribute("aria-label", id);
      open.append(image);
      strip.append(make("li", {}, open));
      get(itemPath(this.collection, id), this.control.signal).then((item) => {
        open.setAttribute("aria-label", nameOf(item));
        open.title = nameOf(item);
        show(image, item.thumbnail ?? itemPath(this.collection, id, "/thumbnail"));
      }).catch(() => {});
    }
    return make("section", {}, make("h3", {}, `${t("burst")} · ${t("more", { n: hit.duplicates.length })}`), strip);
  }

  pressed(event) {
    if (event.target.closest("video, input") || event.altKey || event.ctrlKey || event.metaKey) return;
    const forward = document.documentElement.dir === "rtl" ? "ArrowLeft" : "ArrowRight";
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    this.calls.go(event.key === forward ? 1 : -1);
  }

  free() {
    this.control.abort();
    this.control = new AbortController();
    releaseAll(this.dialog);
    if (this.original) release(this.original);
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = "";
    this.original = null;
  }
}

function details(hit) {
  const facts = [
    [t("matchLabel"), typeof hit.match === "number" && number(hit.match, { style: "percent" })],
    [t("score"), typeof hit.score === "number" && number(hit.score, { minimumFractionDigits: 3, maximumFractionDigits: 3 })],
    [t("moment"), hit.kind === "moment" && `${clock(hit.begin ?? 0)} – ${clock(hit.end ?? hit.begin ?? 0)}`],
    [t("source"), hit.source],
    [t("size"), hit.width > 0 && t("pixels", { width: number(hit.width), height: number(hit.height) })],
    [t("taken"), dateOf(hit.taken)],
    ...Object.entries(hit.metadata ?? {}).map(([name, value]) =>
      [name, typeof value === "string" ? value : JSON.stringify(value)]),
  ];
  return make("dl", {}, facts.filter(([, value]) => value).flatMap(([name, value]) =>
    [make("dt", { dir: "auto" }, name), make("dd", {}, String(value))]));
}

function dateOf(taken) {
  const seconds = typeof taken === "string" ? Date.parse(taken) / 1000 : taken;
  return typeof seconds === "number" && Number.isFinite(seconds) ? date(seconds) : "";
}
