// Elements of the page. What comes from outside is given as text, and is never read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; null and false leave an attribute or a child out. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A drawing of the sprite in index.html. */
export function icon(name, extra = "") {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("class", `icon ${extra}`);
  drawing.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  drawing.append(use);
  return drawing;
}

/** A round button with a drawing. */
export function tool(drawing, label, extra = "", turns = "") {
  return make("button", { type: "button", class: `tool ${extra}`, "aria-label": label, title: label }, icon(drawing, turns));
}

export function button(label, action, extra = "plain") {
  const made = make("button", { type: "button", class: extra }, label);
  made.addEventListener("click", action);
  return made;
}

/** Shows a modal dialog; a click beside it closes it where `light`. */
export function openDialog(dialog, focus = null, light = false) {
  if (!dialog.open) dialog.showModal();
  if (light) dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
  focus?.focus();
}

/** The heading of a sheet, with what closes it. */
export function sheetTop(title, dialog, closeLabel) {
  const close = tool("close", closeLabel);
  close.addEventListener("click", () => dialog.close());
  return make("div", { class: "top" }, make("h2", { id: "sheet-title" }, title), close);
}

let waiting = 0;

/** Says something to a screen reader, once typing has paused. */
export function announce(text) {
  const live = document.getElementById("live");
  clearTimeout(waiting);
  waiting = setTimeout(() => { live.textContent = text; }, 250);
}
