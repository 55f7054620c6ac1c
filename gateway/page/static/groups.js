// Duplicates: a job finds the groups, and they are shown side by side.

import { collectionPath, get, itemPath, post, request, wasAborted } from "./api.js";
import { announce, button, make, openDialog, sheetTop } from "./elements.js";
import { t } from "./language.js";
import { releaseAll, show } from "./thumbnails.js";
import { nameOf } from "./tile.js";

const ASK_AGAIN = 700; // milliseconds
const KINDS = { exact: "groupExact", near: "groupNear", semantic: "groupSemantic" };
const AT_ONCE = 100; // groups that are put on the sheet at a time

/** The sheet of a collection's duplicates; `openItem` is called with an id. */
export function openGroups(collection, openItem) {
  const dialog = document.getElementById("sheet");
  dialog.className = "sheet wide";
  const body = make("div");
  const run = new Groups(collection, body, openItem);
  dialog.replaceChildren(sheetTop(t("groupsTitle", { name: collection }), dialog, t("close")), make("p", {}, t("groupsHint")), body);
  dialog.addEventListener("close", () => run.close(), { once: true });
  openDialog(dialog);
  run.last();
}

class Groups {
  constructor(collection, body, openItem) {
    Object.assign(this, { collection, body, openItem, control: new AbortController() });
  }

  close() {
    this.control.abort();
    releaseAll(this.body);
  }

  /** Goes on with the newest job of this collection, where there is one. */
  async last() {
    await this.guarded(async () => {
      const { jobs } = await get("jobs", this.control.signal);
      const known = jobs.filter((job) => job.kind === "dedup" && job.collection === this.collection)
        .sort((one, other) => other.created - one.created);
      const job = known.find((each) => each.state === "running") ?? known.find((each) => each.state === "done");
      if (job) await this.follow(job.id);
      else this.offer();
    }, () => this.offer());
  }

  offer(said = "") {
    const start = button(t("groupsStart"), () => this.start(), "button");
    this.body.replaceChildren(...(said ? [make("p", { role: "status" }, said)] : []), start);
  }

  async start() {
    await this.guarded(async () => {
      const job = await post(collectionPath(this.collection, "/jobs"), { kind: "dedup" }, this.control.signal);
      await this.follow(job.id);
    });
  }

  async follow(id) {
    const path = `jobs/${encodeURIComponent(id)}`;
    const bar = make("progress", { max: "1", "aria-label": t("groups") });
    const said = make("p", { role: "status" });
    const stop = button(t("groupsStop"), () => this.guarded(() => request(path, { method: "DELETE" })));
    this.body.replaceChildren(bar, said, stop);
    for (;;) {
      const job = await get(path, this.control.signal);
      if (job.state === "done") {
        this.show(job.result?.groups ?? []);
        return;
      }
      if (job.state === "cancelled") {
        this.offer(t("groupsStopped"));
        return;
      }
      if (job.state === "failed") throw new Error(job.error?.message ?? t("failed", { status: 500 }));
      if (job.total) {
        bar.value = job.done / job.total;
        said.textContent = t("groupsUnderWay", { done: job.done, total: job.total });
      }
      await new Promise((resolve) => { setTimeout(resolve, ASK_AGAIN); });
    }
  }

  show(groups) {
    const said = groups.length ? t("groupsFound", { n: groups.length }) : t("groupsNone");
    announce(said);
    const list = make("ul", { class: "groups", role: "list" });
    const more = button(t("next"), () => further());
    let shown = 0;
    const further = () => {
      for (const group of groups.slice(shown, shown + AT_ONCE)) list.append(this.group(group));
      shown = Math.min(groups.length, shown + AT_ONCE);
      more.hidden = shown === groups.length;
    };
    further();
    this.body.replaceChildren(
      make("div", { class: "row" }, make("strong", {}, said), button(t("groupsStart"), () => this.start())), list, more);
  }

  group(group) {
    const { keep, ids } = group;
    const strip = make("ul", { class: "strip", role: "list" });
    for (const id of ids) {
      const image = make("img", { alt: "" });
      const open = button("", () => this.openItem(id), id === keep ? "kept" : "");
      open.setAttribute("aria-label", id);
      open.append(image);
      strip.append(make("li", {}, open));
      this.fill(id, open, image, id === keep);
    }
    const kind = t(KINDS[group.kind] ?? "groupOther");
    return make("li", {}, make("h3", {}, t("groupTitle", { n: ids.length, kind })), strip);
  }

  async fill(id, open, image, kept) {
    show(image, itemPath(this.collection, id, "/thumbnail"));
    try {
      const name = nameOf(await get(itemPath(this.collection, id), this.control.signal));
      open.title = name;
      open.setAttribute("aria-label", kept ? t("groupKept", { name }) : name);
    } catch {
      // Its id names it.
    }
  }

  async guarded(work, otherwise = null) {
    try {
      await work();
    } catch (error) {
      if (wasAborted(error)) return;
      if (otherwise) otherwise();
      else this.body.replaceChildren(make("p", { class: "wrong", role: "alert" }, error.message), button(t("retry"), () => this.start()));
    }
  }
}
