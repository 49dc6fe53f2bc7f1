// SPDX-License-Identifier: AGPL-3.0-or-later
// What the live socket says (station_app/facts.py, live.py), and how a binary preview is taken apart.
export type Outcome = "pass" | "reject" | "not_inspected";
export type Health = "ready" | "starting" | "degraded" | "fault" | "down";
export type Level = "running" | "waiting" | "degraded" | "down";

export interface Part {
  id: number;
  epoch: number;
  seq: number;
  outcome: Outcome;
  reason: string;
  rejected_by: string[];
  latency_ms: number | null;
  deadline_ms: number;
  triggered_utc_ns: number;
  finding_count: number;
}

export interface Finding {
  defect_class: string;
  score: number;
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

export interface View {
  image: string | null;
  width_px: number | null;
  height_px: number | null;
  seen_px: Rectangle | null;
}

/** x, y, width, height in pixels of the picture. */
export type Rectangle = [number, number, number, number];

export interface Reject {
  part: Part;
  view: View | null;
  findings: Finding[];
}

export interface Process {
  role: string;
  label: string;
  health: Health;
  text: string;
  age_ms: number | null;
  restarts: number;
  facts: [string, string][];
}

export interface Station {
  name: string;
  level: Level;
  sentence: string;
  line: {
    state: string;
    state_label: string;
    armed: boolean;
    plc_alive: boolean;
    epoch: number;
    modbus_port: number;
  };
  counts: { triggers: number; passed: number; rejected: number; not_inspected: number; in_flight: number };
  first_pass_yield: number | null;
  parts_per_s: number;
  reasons: [string, number][];
  defects: [string, number][];
  latency: { parts: number; p50_ms: number | null; p99_ms: number | null; max_ms: number | null; deadline_ms: number };
  processes: Process[];
}

export type Message =
  | { type: "station"; station: Station }
  | { type: "parts"; reset: boolean; parts: Part[] }
  | { type: "rejects"; rejects: Reject[] };

export interface Preview {
  serial: string;
  seq: number;
  outcome: Outcome;
  reason: string;
  findings: Finding[];
  width: number;
  height: number;
  utc_ns: number;
  jpeg: Blob;
}

interface BoardFinding {
  defect_class: string;
  score: number;
  box: { x0_px: number; y0_px: number; x1_px: number; y1_px: number };
}

/** 4 bytes big-endian length, JSON, JPEG. Throws RangeError or SyntaxError on anything else. */
export function unpackPreview(data: ArrayBuffer): Preview {
  const length = new DataView(data).getUint32(0);
  const text = new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(data, 4, length));
  const facts = JSON.parse(text) as Omit<Preview, "jpeg" | "findings"> & { findings: BoardFinding[] };
  const findings = facts.findings.map(({ defect_class, score, box }) => ({
    defect_class,
    score,
    x0: box.x0_px,
    y0: box.y0_px,
    x1: box.x1_px,
    y1: box.y1_px,
  }));
  return { ...facts, findings, jpeg: new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }) };
}
