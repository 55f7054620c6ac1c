// What somebody prefers, kept by the browser: colours, language, shortcuts.

import { fill } from "./filters.js";
import { forgetKey, hasKey } from "./key.js";
import { choose, chosen, names, t } from "./language.js";

const THEME = "babelclip.theme";
const SHORTCUTS = "babelclip.shortcuts";
const dark = matchMedia("(prefers-color-scheme: dark)");

/** Colours as they were chosen, or as the device has them. */
export function applyTheme() {
  const wanted = localStorage.getItem(THEME) ?? "";
  document.documentElement.dataset.theme = wanted || (dark.matches ? "dark" : "light");
}

/** Whether single keys do something; WCAG 2.1.4 wants that this can be turned off. */
export function hasShortcuts() {
  return localStorage.getItem(SHORTCUTS) !== "off";
}

/** The settings of the page; `spoken` is called when the language has changed. */
export function bindSettings(spoken) {
  const menu = document.getElementById("menu");
  const opener = document.getElementById("menu-button");
  const theme = document.getElementById("theme");
  const language = document.getElementById("language");
  const shortcuts = document.getElementById("shortcuts");
  const forget = document.getElementById("forget");
  dark.addEventListener("change", applyTheme);

  const refill = () => {
    const themes = [["", t("themeAuto")], ["light", t("themeLight")], ["dark", t("themeDark")]];
    fill(theme, themes, localStorage.getItem(THEME) ?? "");
    fill(language, [["", t("languageAuto")], ...Object.entries(names)], chosen());
    shortcuts.checked = hasShortcuts();
  };
  refill();
  opener.addEventListener("click", () => {
    menu.hidden = !menu.hidden;
    opener.setAttribute("aria-expanded", String(!menu.hidden));
    forget.hidden = !hasKey();
    if (!menu.hidden) theme.focus();
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menu.hidden = true;
    opener.setAttribute("aria-expanded", "false");
    opener.focus();
  });
  theme.addEventListener("change", () => {
    if (theme.value) localStorage.setItem(THEME, theme.value);
    else localStorage.removeItem(THEME);
    applyTheme();
  });
  language.addEventListener("change", () => {
    choose(language.value);
    refill();
    spoken();
  });
  shortcuts.addEventListener("change", () => localStorage.setItem(SHORTCUTS, shortcuts.checked ? "on" : "off"));
  forget.addEventListener("click", () => {
    forgetKey();
    location.reload();
  });
}
