// Rows of photographs of one height each, as wide as the page, none of them cropped: pure arithmetic.

const NARROWEST = 0.5;
const WIDEST = 2.6;
export const LINE = 56; // pixels: the height of the line between what fits and what does not

/** Width by height of a hit, within what a row can show. */
export function ratioOf(hit) {
  const ratio = hit.width > 0 && hit.height > 0 ? hit.width / hit.height : hit.kind === "moment" ? 16 / 9 : 1;
  return Math.min(WIDEST, Math.max(NARROWEST, ratio));
}

/** Grows row by row. Rows are {top, height, first, widths} or, for the line, {top, height, line: true}. */
export class Layout {
  constructor(width, target, gap) {
    this.width = width;
    this.target = target;
    this.gap = gap;
    this.rows = [];
    this.count = 0; // items that were added
    this.waiting = []; // ratios of those that fill no row yet
    this.sum = 0;
  }

  get height() {
    const last = this.rows.at(-1);
    return last ? last.top + last.height : 0;
  }

  add(ratio) {
    const without = this.heightOf(this.waiting.length, this.sum);
    const filled = this.heightOf(this.waiting.length + 1, this.sum + ratio);
    if (filled < this.target) {
      // Whichever is nearer to the height that is wanted: with this one, or without.
      const better = this.waiting.length > 0 && without - this.target < this.target - filled;
      if (better) this.finish(without);
      this.take(ratio);
      if (!better) this.finish(filled);
    } else {
      this.take(ratio);
    }
  }

  /** Ends the last row, which need not be full. */
  flush() {
    if (this.waiting.length) this.finish(Math.min(this.target, this.heightOf(this.waiting.length, this.sum)));
  }

  line() {
    this.flush();
    this.rows.push({ top: this.nextTop(), height: LINE, line: true });
  }

  /** The index of the row at a height. */
  rowAt(top) {
    let low = 0;
    let high = this.rows.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.rows[middle].top <= top) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The index of the row that holds an item; -1 while it is in none. */
  rowOf(item) {
    let low = 0;
    let high = this.rows.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const row = this.rows[middle];
      const first = row.line ? this.rows[middle + 1]?.first ?? this.count : row.first;
      if (item < first) high = middle - 1;
      else if (row.line || item >= first + row.widths.length) low = middle + 1;
      else return middle;
    }
    return -1;
  }

  heightOf(count, sum) {
    return count ? (this.width - this.gap * (count - 1)) / sum : Infinity;
  }

  take(ratio) {
    this.waiting.push(ratio);
    this.sum += ratio;
    this.count += 1;
  }

  finish(height) {
    const widths = this.waiting.map((ratio) => ratio * height);
    this.rows.push({ top: this.nextTop(), height, first: this.count - this.waiting.length, widths });
    this.waiting = [];
    this.sum = 0;
  }

  nextTop() {
    return this.rows.length ? this.height + this.gap : 0;
  }
}
