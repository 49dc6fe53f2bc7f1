// SPDX-License-Identifier: AGPL-3.0-or-later
// Light or dark: the system's choice until a person makes one. The server reads the cookie, so nothing flashes.
export type Theme = "auto" | "light" | "dark";

export function storedTheme(cookie: string): Theme {
  const found = /(?:^|;\s*)gatesight_theme=(light|dark)(?:;|$)/.exec(cookie);
  return (found?.[1] as Theme | undefined) ?? "auto";
}

export function nextTheme(theme: Theme, systemIsDark: boolean): "light" | "dark" {
  const isDark = theme === "auto" ? systemIsDark : theme === "dark";
  return isDark ? "light" : "dark";
}
