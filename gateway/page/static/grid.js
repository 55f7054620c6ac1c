// The results on the page. Only what is near the window is in the document, however many there are.

import { Layout, ratioOf } from "./layout.js";
import { releaseAll } from "./thumbnails.js";
import { makeLine, makeTile } from "./tile.js";

const GAP = 8;
const AHEAD = 1.5; // windows below and above that are kept in the document
const COMING = 3; // windows below for which results are loaded

export class Grid {
  /** `open` and `alike` are called with an index, `more` where further results are needed, `leave` above the first. */
  constructor(list, { open, alike, more, leave }) {
    this.list = list;
    this.calls = { open, alike, more, leave };
    this.found = null;
    this.rows = new Map(); // index of a row → its elements
    this.current = 0; // the tile that the tabulator reaches
    this.frame = 0;
    list.addEventListener("click", (event) => this.clicked(event));
    list.addEventListener("keydown", (event) => this.pressed(event));
    list.addEventListener("focusin", (event) => this.focused(event));
    addEventListener("scroll", () => this.soon(), { passive: true });
    new ResizeObserver(() => this.resized()).observe(list);
  }

  /** Shows the results of a search, from the first on. */
  show(found) {
    this.clear();
    this.found = found;
    this.current = 0;
    this.layout = this.newLayout();
    this.grow();
  }

  clear() {
    for (const index of [...this.rows.keys()]) this.drop(index);
    this.found = null;
    this.list.style.height = "0";
  }

  /** Takes up results that were loaded since. */
  grow() {
    const { found, layout } = this;
    const before = layout.rows.length;
    const fitting = found.fitting;
    for (let index = layout.count; index < found.hits.length; index += 1) {
      if (index === fitting && found.threshold !== null) layout.line();
      layout.add(ratioOf(found.hits[index]));
    }
    if (found.done) {
      layout.flush();
      for (const elements of this.rows.values()) {
        for (const tile of elements) tile.setAttribute?.("aria-setsize", String(found.hits.length));
      }
    }
    if (layout.rows.length !== before) this.list.style.height = `${layout.height}px`;
    this.render();
  }

  /** Puts the focus on a tile, which may be out of view. */
  focus(index) {
    const row = this.layout?.rowOf(index) ?? -1;
    if (row < 0) return;
    this.current = index;
    this.reveal(this.layout.rows[row]);
    this.render();
    this.tile(index)?.querySelector(".open").focus({ preventScroll: true });
  }

  tile(index) {
    return this.list.querySelector(`[data-index="${index}"]`);
  }

  soon() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.render();
    });
  }

  render() {
    if (!this.found) return;
    const { layout, found } = this;
    const top = scrollY - this.offset();
    const from = layout.rowAt(top - innerHeight * AHEAD);
    const to = layout.rowAt(top + innerHeight * (1 + AHEAD));
    const focused = this.list.contains(document.activeElement) ? layout.rowOf(this.current) : -1;
    for (const index of [...this.rows.keys()]) {
      if ((index < from || index > to) && index !== focused) this.drop(index);
    }
    for (let index = from; index <= to && index < layout.rows.length; index += 1) {
      if (!this.rows.has(index)) this.put(index);
    }
    this.point();
    if (!found.done && layout.height < top + innerHeight * (1 + COMING)) this.calls.more();
  }

  put(index) {
    const { found, layout } = this;
    const row = layout.rows[index];
    const total = found.done ? found.hits.length : -1;
    const elements = row.line ? [makeLine()] : row.widths.map((_, place) => {
      const hit = found.hits[row.first + place];
      return makeTile(hit, row.first + place, total, found.isBeyond(hit));
    });
    let start = 0;
    elements.forEach((element, place) => {
      element.style.height = `${row.height}px`;
      element.style.insetBlockStart = `${row.top}px`;
      if (row.line) return;
      element.style.width = `${row.widths[place]}px`;
      element.style.insetInlineStart = `${start}px`;
      start += row.widths[place] + layout.gap;
    });
    this.rows.set(index, elements);
    // In the order of the results, which is that of the tabulator and of a screen reader.
    const later = [...this.rows.keys()].filter((other) => other > index);
    const next = later.length ? this.rows.get(Math.min(...later))[0] : null;
    for (const element of elements) this.list.insertBefore(element, next);
  }

  drop(index) {
    for (const element of this.rows.get(index)) {
      releaseAll(element);
      element.remove();
    }
    this.rows.delete(index);
  }

  /** One tile can be reached by the tabulator: the current one or, while it is out of view, the first in it. */
  point() {
    const tiles = [...this.list.querySelectorAll(".tile")];
    const chosen = this.tile(this.current) ?? tiles[0];
    for (const tile of tiles) {
      for (const each of tile.querySelectorAll("button")) each.tabIndex = tile === chosen ? 0 : -1;
    }
  }

  clicked(event) {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    const index = Number(tile.dataset.index);
    if (event.target.closest(".alike")) this.calls.alike(index);
    else if (event.target.closest(".open")) this.calls.open(index);
  }

  focused(event) {
    const tile = event.target.closest(".tile");
    if (!tile || Number(tile.dataset.index) === this.current) return;
    this.current = Number(tile.dataset.index);
    this.point();
  }

  pressed(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || !event.target.closest(".tile")) return;
    const forward = getComputedStyle(this.list).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const step = { ArrowRight: -1, ArrowLeft: -1, [forward]: 1 }[event.key];
    const last = this.found.hits.length - this.layout.waiting.length - 1;
    let to = null;
    if (step) to = this.current + step;
    else if (event.key === "ArrowDown") to = this.beside(1);
    else if (event.key === "ArrowUp") to = this.beside(-1);
    else if (event.key === "Home") to = 0;
    else if (event.key === "End") to = last;
    if (to === null) return;
    event.preventDefault();
    if (to < 0) this.calls.leave();
    else if (to <= last) this.focus(to);
  }

  /** The tile above (-1) or below (1) the current one; -1 above the first row. */
  beside(step) {
    const { rows, gap } = this.layout;
    const here = this.layout.rowOf(this.current);
    let to = here + step;
    if (rows[to]?.line) to += step;
    if (to < 0) return -1;
    if (!rows[to]) return null;
    const centre = middle(rows[here], this.current - rows[here].first, gap);
    const distances = rows[to].widths.map((_, place) => Math.abs(middle(rows[to], place, gap) - centre));
    return rows[to].first + distances.indexOf(Math.min(...distances));
  }

  resized() {
    if (!this.found || this.list.clientWidth === this.layout.width) return;
    const first = this.layout.rows[this.layout.rowAt(scrollY - this.offset())]?.first ?? 0;
    const wasScrolled = scrollY > this.offset();
    for (const index of [...this.rows.keys()]) this.drop(index);
    this.layout = this.newLayout();
    this.grow();
    const row = this.layout.rowOf(first);
    if (wasScrolled && row >= 0) scrollTo(0, this.layout.rows[row].top + this.offset());
  }

  reveal(row) {
    const bar = document.querySelector(".bar").offsetHeight;
    const top = row.top + this.offset();
    if (top < scrollY + bar + GAP) scrollTo(0, top - bar - GAP);
    else if (top + row.height > scrollY + innerHeight) scrollTo(0, top + row.height - innerHeight + GAP);
  }

  offset() {
    return this.list.getBoundingClientRect().top + scrollY;
  }

  newLayout() {
    const width = this.list.clientWidth;
    return new Layout(width, width < 560 ? 150 : width < 1100 ? 200 : 240, GAP);
  }
}

function middle(row, place, gap) {
  const before = row.widths.slice(0, place).reduce((sum, width) => sum + width + gap, 0);
  return before + row.widths[place] / 2;
}
