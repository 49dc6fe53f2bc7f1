// SPDX-License-Identifier: AGPL-3.0-or-later
// Every page: style, htmx, theme, keys, menus.
import "./style/index.css";
import htmx from "htmx.org";

import { nextTheme, storedTheme } from "./theme";

document.addEventListener("htmx:configRequest", (event) => {
  const token = document.querySelector<HTMLMetaElement>('meta[name="csrf"]')?.content;
  const detail = (event as CustomEvent<{ headers: Record<string, string> }>).detail;
  if (token !== undefined) detail.headers["X-CSRF-Token"] = token;
});

// The export link follows the search that is shown.
document.addEventListener("htmx:afterSettle", () => {
  const results = document.querySelector<HTMLElement>("#results");
  const link = document.querySelector<HTMLAnchorElement>("#csv-link");
  if (results?.dataset["csv"] && link) link.href = results.dataset["csv"];
});

// A failed search says so instead of leaving the old rows as if they were the answer.
document.addEventListener("htmx:sendError", () => showTrouble("The console does not answer."));
document.addEventListener("htmx:responseError", () => showTrouble("The search failed."));

function showTrouble(sentence: string): void {
  const results = document.querySelector("#results");
  if (!results) return;
  const notice = document.createElement("p");
  notice.className = "notice notice-trouble";
  notice.setAttribute("role", "alert");
  notice.textContent = sentence;
  results.querySelector(".notice-trouble")?.remove();
  results.prepend(notice);
}

document.querySelector("[data-theme-toggle]")?.addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = nextTheme(storedTheme(document.cookie), dark);
  document.documentElement.dataset["theme"] = theme;
  document.cookie = `gatesight_theme=${theme}; path=/; max-age=31536000; samesite=strict`;
});

// Arrow keys go to the neighbouring part.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target !== document.body) return;
  document.querySelector<HTMLAnchorElement>(`a[data-key="${CSS.escape(event.key)}"]`)?.click();
});

// A menu closes when one clicks elsewhere or presses Escape.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll<HTMLDetailsElement>("details.menu[open]")) {
    if (!menu.contains(event.target as Node)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll<HTMLDetailsElement>("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary")?.focus();
  }
});

void htmx;
