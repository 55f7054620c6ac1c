// Pictures that are searched by. They stay in this tab: the address holds only the name under which one is kept.

import { t } from "./language.js";

const PREFIX = "babelclip.picture.";
const SIDE = 768; // pixels; more than any tower looks at
const SMALL = 200_000; // bytes that are sent as they are
const MAX_MEGABYTES = 20;
const KEPT = 10;
const blobs = new Map();

/** Keeps a file; returns its name. Throws an Error with a sentence where it is no picture. */
export async function keep(file) {
  const picture = await shrunk(file);
  const bytes = new Uint8Array(await picture.arrayBuffer());
  const name = await digest(bytes);
  blobs.set(name, picture);
  remember(name, await dataUri(name));
  return name;
}

/** The picture of a name, or null where this tab has it no more. */
export function find(name) {
  if (!blobs.has(name)) {
    const kept = sessionStorage.getItem(PREFIX + name);
    if (kept === null) return null;
    const [head, body] = kept.split(",");
    const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
    blobs.set(name, new Blob([bytes], { type: head.slice("data:".length, head.indexOf(";")) }));
  }
  return blobs.get(name);
}

/** A picture as the data URI that the gateway reads. */
export function dataUri(name) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(find(name));
  });
}

/** The first picture of a drop or a paste, or null. */
export function pictureOf(transfer) {
  return [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? null;
}

async function shrunk(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    // The gateway may read what this browser does not, as HEIC.
    if (!file.type.startsWith("image/")) throw new Error(t("noPictureFile", { name: file.name }));
    if (file.size > MAX_MEGABYTES * 1e6) throw new Error(t("pictureTooLarge", { n: MAX_MEGABYTES }));
    return file;
  }
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  if (file.size <= SMALL && scale === 1) return file;
  const canvas = new OffscreenCanvas(
    Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)),
  );
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
}

/** A name by content: equal pictures have equal addresses. FNV-1a, for crypto.subtle is not there without TLS. */
async function digest(bytes) {
  let hash = 0xcbf29ce484222325n;
  for (let at = 0; at < bytes.length; at += Math.max(1, Math.floor(bytes.length / 4096))) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(bytes[at])) * 0x100000001b3n);
  }
  return `${hash.toString(16)}-${bytes.length.toString(16)}`;
}

function remember(name, uri) {
  const names = Object.keys(sessionStorage).filter((key) => key.startsWith(PREFIX));
  while (names.length >= KEPT) sessionStorage.removeItem(names.shift());
  try {
    sessionStorage.setItem(PREFIX + name, uri);
  } catch {
    // There is no room: it lasts until the page is loaded anew.
  }
}
