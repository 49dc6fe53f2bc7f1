// SPDX-License-Identifier: AGPL-3.0-or-later
// The pure parts of the Line page: what is shown, for how long, and what the socket's bytes mean.
import { describe, expect, it } from "vitest";

import { ceiling, columns } from "../src/live/chart";
import { choose, dwellMs } from "../src/live/dwell";
import { ago, milliseconds, percent, thousands } from "../src/live/format";
import { type Outcome, type Part, unpackPreview } from "../src/live/messages";
import { nextTheme, storedTheme } from "../src/theme";

function part(id: number, outcome: Outcome = "pass", latency: number | null = 50): Part {
  return {
    id,
    epoch: 1,
    seq: id,
    outcome,
    reason: "none",
    rejected_by: [],
    latency_ms: latency,
    deadline_ms: 250,
    triggered_utc_ns: 0,
    finding_count: 0,
  };
}

describe("the part that is shown large", () => {
  it("is the newest one, and none when there is none", () => {
    expect(choose(null, part(3), 0)?.part.id).toBe(3);
    expect(choose(null, undefined, 0)).toBeNull();
    expect(choose({ part: part(1), sinceMs: 0 }, undefined, 0)).toBeNull();
  });

  it("stays for its moment, a reject for longer, and then gives way", () => {
    const shown = { part: part(1), sinceMs: 1000 };
    expect(choose(shown, part(2), 1000 + dwellMs("pass") - 1)?.part.id).toBe(1);
    expect(choose(shown, part(2), 1000 + dwellMs("pass"))?.part.id).toBe(2);
    const reject = { part: part(1, "reject"), sinceMs: 1000 };
    expect(choose(reject, part(2), 1000 + dwellMs("pass"))?.part.id).toBe(1);
    expect(choose(reject, part(2), 1000 + dwellMs("reject"))?.part.id).toBe(2);
  });

  it("prefers no outcome: with every fifth a reject, passes are seen more often", () => {
    const seen = { pass: 0, reject: 0, not_inspected: 0 };
    let shown: ReturnType<typeof choose> = null;
    for (let ms = 0; ms < 100_000; ms += 50) {
      const id = Math.floor(ms / 100) + 1;
      // 7919 is prime: every fifth part on average, in no rhythm with the dwell
      shown = choose(shown, part(id, (id * 7919) % 101 < 20 ? "reject" : "pass"), ms);
      if (shown) seen[shown.part.outcome] += 1;
    }
    expect(seen.pass).toBeGreaterThan(seen.reject);
    expect(seen.reject).toBeGreaterThan(0);
  });
});

describe("the chart", () => {
  it("has one column an outcome and ends now", () => {
    const [x, deadline, pass, reject, lost] = columns([part(1), part(2, "reject", 60), part(3, "not_inspected", null)]);
    expect(x?.slice(-3)).toEqual([-2, -1, 0]);
    expect(new Set(deadline)).toEqual(new Set([250]));
    expect(pass?.slice(-4)).toEqual([null, 50, null, null]);
    expect(reject?.slice(-3)).toEqual([null, 60, null]);
    expect(lost?.every((value) => value === null)).toBe(true);
  });

  it("shows the newest 300 and leaves room above what was late", () => {
    const many = Array.from({ length: 400 }, (_, i) => part(i + 1));
    expect(columns(many)[0]).toHaveLength(300);
    expect(columns(many)[0]?.at(-1)).toBe(0);
    expect(ceiling([part(1, "pass", 400)])).toBeGreaterThan(400);
    expect(ceiling([part(1)])).toBeGreaterThan(250);
  });
});

describe("a preview", () => {
  const facts = {
    serial: "LINESIM-0",
    seq: 7,
    outcome: "reject",
    findings: [{ defect_class: "pit", score: 0.9, box: { x0_px: 1, y0_px: 2, x1_px: 3, y1_px: 4 }, camera: 0 }],
  };

  function packed(header: string, jpeg: number[]): ArrayBuffer {
    const text = new TextEncoder().encode(header);
    const bytes = new Uint8Array(4 + text.length + jpeg.length);
    new DataView(bytes.buffer).setUint32(0, text.length);
    bytes.set(text, 4);
    bytes.set(jpeg, 4 + text.length);
    return bytes.buffer;
  }

  it("is taken apart into facts, boxes and picture", async () => {
    const preview = unpackPreview(packed(JSON.stringify(facts), [0xff, 0xd8, 0xff]));
    expect(preview.serial).toBe("LINESIM-0");
    expect(preview.findings).toEqual([{ defect_class: "pit", score: 0.9, x0: 1, y0: 2, x1: 3, y1: 4 }]);
    expect(new Uint8Array(await preview.jpeg.arrayBuffer())).toEqual(new Uint8Array([0xff, 0xd8, 0xff]));
  });

  it("is refused when it is torn", () => {
    const whole = packed(JSON.stringify(facts), [1]);
    expect(() => unpackPreview(whole.slice(0, 20))).toThrow();
    expect(() => unpackPreview(new ArrayBuffer(2))).toThrow();
    expect(() => unpackPreview(packed("{", []))).toThrow();
  });
});

describe("figures", () => {
  it("are grouped by thin spaces, and absent ones are dashes", () => {
    expect(thousands(1234567)).toBe("1\u202f234\u202f567");
    expect(thousands(999)).toBe("999");
    expect(percent(0.8414)).toBe("84.1\u202f%");
    expect(percent(null)).toBe("–");
    expect([milliseconds(12.34), milliseconds(250), milliseconds(null)]).toEqual(["12.3 ms", "250 ms", "–"]);
    expect([ago(3), ago(125), ago(7300)]).toEqual(["3 s ago", "2 min ago", "2 h ago"]);
  });
});

describe("light and dark", () => {
  it("follow the system until somebody chooses", () => {
    expect(storedTheme("a=b")).toBe("auto");
    expect(storedTheme("a=b; gatesight_theme=dark; c=d")).toBe("dark");
    expect(storedTheme("not_gatesight_theme=dark")).toBe("auto");
    expect(storedTheme("gatesight_theme=pink")).toBe("auto");
    expect([nextTheme("auto", true), nextTheme("auto", false)]).toEqual(["light", "dark"]);
    expect([nextTheme("light", true), nextTheme("dark", false)]).toEqual(["dark", "light"]);
  });
});
