// Calls of the gateway: with the key, where there is one, and errors as sentences.

import { askForKey, forgetKey, keyHeader } from "./key.js";
import { t } from "./language.js";

const ROOT = new URL("../v1/", document.baseURI);

/** A call that failed. `message` can be shown; `status` is 0 where no answer came. */
export class CallError extends Error {
  constructor(message, status = 0, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export function wasAborted(error) {
  return error?.name === "AbortError";
}

/** The address of a path of the API, as "collections" or "/v1/collections/…/thumbnail": always of this gateway. */
export function address(path) {
  return new URL(path.replace(/^\/?(v1\/)?/, ""), ROOT);
}

/** An answer that is no error; asks for a key, once or until one is right, where the gateway wants one. */
export async function request(path, options = {}) {
  for (;;) {
    const shown = keyHeader();
    let answer;
    try {
      answer = await fetch(address(path), { ...options, headers: { ...options.headers, ...shown } });
    } catch (error) {
      if (wasAborted(error)) throw error;
      throw new CallError(t("offline"));
    }
    if (answer.ok) return answer;
    if (answer.status !== 401) throw await failure(answer);
    if (shown.Authorization === keyHeader().Authorization) {
      forgetKey();
      await askForKey(Boolean(shown.Authorization), options.signal);
    }
  }
}

export async function get(path, signal) {
  return (await request(path, { signal })).json();
}

export async function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return (await request(path, { method: "POST", headers, body: JSON.stringify(body), signal })).json();
}

/** What an answer that is an error says. */
export async function failure(answer) {
  const retryAfter = Number(answer.headers.get("Retry-After")) || 0;
  return new CallError(sentence(await answer.text().catch(() => ""), answer.status), answer.status, retryAfter);
}

/** The message in a body of an error, or one for its status. */
export function sentence(body, status) {
  try {
    const { error, message } = JSON.parse(body);
    const said = error?.message ?? error ?? message;
    if (typeof said === "string" && said) return said;
  } catch {
    // A proxy answered, not the gateway.
  }
  return t("failed", { status });
}

export function collectionPath(name, rest = "") {
  return `collections/${encodeURIComponent(name)}${rest}`;
}

export function itemPath(name, id, rest = "") {
  return collectionPath(name, `/items/${encodeURIComponent(id)}${rest}`);
}
