// SPDX-License-Identifier: AGPL-3.0-or-later
// Which part the large outcome shows. Ten parts a second cannot be read: a part stays for a moment, one that was
// not passed for longer, and then comes whichever is the newest. Nothing is preferred, so the picture is honest;
// the last reject stands below it in words.
import type { Outcome, Part } from "./messages";

export interface Shown {
  part: Part;
  sinceMs: number;
}

export function dwellMs(outcome: Outcome): number {
  return outcome === "pass" ? 450 : 1000;
}

/** The part to show, given the one shown now, the newest of all, and the clock. Pure. */
export function choose(shown: Shown | null, newest: Part | undefined, nowMs: number): Shown | null {
  if (newest === undefined) return null;
  if (shown === null) return { part: newest, sinceMs: nowMs };
  if (shown.part.id === newest.id || nowMs - shown.sinceMs < dwellMs(shown.part.outcome)) return shown;
  return { part: newest, sinceMs: nowMs };
}
