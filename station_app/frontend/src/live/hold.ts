// SPDX-License-Identifier: AGPL-3.0-or-later
// Which part the large outcome shows. At ten parts a second a reject would flash by for a tenth of one:
// whatever is not a pass stays long enough to be read from two metres.
import type { Part } from "./messages";

export const HOLD_MS = 1800;

export interface Shown {
  part: Part;
  held: boolean;
  sinceMs: number;
}

/**
 * The part to show, given the one shown now, those that are new (oldest first), the newest of all, and the clock.
 * Pure.
 */
export function choose(
  shown: Shown | null,
  fresh: readonly Part[],
  newest: Part | undefined,
  nowMs: number,
): Shown | null {
  const notable = fresh.findLast((part) => part.outcome !== "pass");
  if (notable !== undefined) return { part: notable, held: true, sinceMs: nowMs };
  if (shown?.held && nowMs - shown.sinceMs < HOLD_MS) return shown;
  if (newest === undefined) return null;
  return shown?.part.id === newest.id ? shown : { part: newest, held: false, sinceMs: nowMs };
}
