// Pictures behind a key: an <img> cannot send one, so they are fetched, shown as blobs, and freed when out of view.

import { address, request, wasAborted } from "./api.js";
import { hasKey } from "./key.js";

const AT_ONCE = 8;
const TRIES = 4;
const shown = new Map();
const queue = [];
let underWay = 0;

/** Shows the picture of a path of the API; `missing` is called where there is none. */
export function show(image, path, missing = () => {}) {
  const entry = { image, path, missing, control: new AbortController(), url: "" };
  shown.set(image, entry);
  image.addEventListener("load", () => image.classList.add("here"), { once: true });
  image.addEventListener("error", () => { if (shown.get(image) === entry) missing(); }, { once: true });
  if (!hasKey()) {
    image.src = address(path);
    return;
  }
  queue.push(entry);
  work();
}

/** Frees a picture, and gives up fetching it. */
export function release(image) {
  const entry = shown.get(image);
  if (!entry) return;
  shown.delete(image);
  entry.control.abort();
  if (entry.url) URL.revokeObjectURL(entry.url);
}

/** Frees all pictures within an element. */
export function releaseAll(element) {
  for (const image of element.querySelectorAll("img, video")) release(image);
}

function work() {
  while (underWay < AT_ONCE && queue.length) {
    const entry = queue.shift();
    if (entry.control.signal.aborted) continue;
    underWay += 1;
    load(entry).finally(() => {
      underWay -= 1;
      work();
    });
  }
}

async function load(entry) {
  const { signal } = entry.control;
  for (let tries = 1; ; tries += 1) {
    try {
      const blob = await (await request(entry.path, { signal })).blob();
      if (signal.aborted) return;
      entry.url = URL.createObjectURL(blob);
      entry.image.src = entry.url;
      return;
    } catch (error) {
      if (wasAborted(error) || signal.aborted) return;
      if (![429, 503].includes(error.status) || tries === TRIES) {
        entry.missing();
        return;
      }
      await new Promise((resolve) => { setTimeout(resolve, Math.max(1, error.retryAfter) * 1000); });
    }
  }
}
