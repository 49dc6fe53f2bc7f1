// SPDX-License-Identifier: AGPL-3.0-or-later
// How figures look. Thin spaces group thousands: comma and point mean opposite things in different countries.
const DASH = "–";

export function thousands(value: number): string {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

export function percent(share: number | null, digits = 1): string {
  return share === null ? DASH : `${(100 * share).toFixed(digits)}\u202f%`;
}

export function milliseconds(value: number | null): string {
  return value === null ? DASH : `${value.toFixed(value < 100 ? 1 : 0)} ms`;
}

export function shareOf(part: number, all: number): number | null {
  return all > 0 ? part / all : null;
}

export function ago(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  return `${Math.round(seconds / 3600)} h ago`;
}
