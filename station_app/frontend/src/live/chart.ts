// SPDX-License-Identifier: AGPL-3.0-or-later
// Latency of the most recent parts against the deadline (uPlot): one point a part, shaped by outcome.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import type { Outcome, Part } from "./messages";

const SHOWN_PARTS = 300;
const OUTCOMES: readonly Outcome[] = ["pass", "reject", "not_inspected"];

interface Colours {
  ink: string;
  quiet: string;
  grid: string;
  deadline: string;
  outcomes: Record<Outcome, string>;
}

/**
 * Columns for uPlot: place (0 is now), deadline, and one latency column an outcome. Always the full width, so that
 * the deadline spans the chart from the first part on. Pure.
 */
export function columns(parts: readonly Part[]): (number | null)[][] {
  const shown = parts.slice(-SHOWN_PARTS);
  const missing = SHOWN_PARTS - shown.length;
  const at = (i: number): Part | undefined => shown[i - missing];
  const column = <T>(value: (i: number) => T): T[] => Array.from({ length: SHOWN_PARTS }, (_, i) => value(i));
  return [
    column((i) => i - SHOWN_PARTS + 1),
    column((i) => (at(i) ?? shown[0])?.deadline_ms ?? null),
    ...OUTCOMES.map((outcome) => column((i) => (at(i)?.outcome === outcome ? (at(i)?.latency_ms ?? null) : null))),
  ];
}

/** Top of the scale: room for the deadline, and for what came later. */
export function ceiling(parts: readonly Part[]): number {
  const highest = Math.max(1, ...parts.slice(-SHOWN_PARTS).map((p) => Math.max(p.deadline_ms, p.latency_ms ?? 0)));
  return highest * 1.12;
}

export class LatencyChart {
  private plot: uPlot | null = null;
  private parts: readonly Part[] = [];

  constructor(private readonly host: HTMLElement) {
    new ResizeObserver(() => this.resize()).observe(host);
    const again = (): void => this.rebuild();
    new MutationObserver(again).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  }

  show(parts: readonly Part[]): void {
    this.parts = parts;
    if (this.plot) this.plot.setData(columns(parts) as uPlot.AlignedData);
    else if (parts.length > 0) this.rebuild();
    const last = parts.at(-1);
    if (last) this.host.setAttribute("aria-label", `Latency of the last ${Math.min(parts.length, SHOWN_PARTS)} parts, deadline ${last.deadline_ms} ms`);
  }

  private resize(): void {
    this.plot?.setSize({ width: this.host.clientWidth, height: this.host.clientHeight });
  }

  private rebuild(): void {
    this.plot?.destroy();
    this.plot = new uPlot(this.options(readColours()), columns(this.parts) as uPlot.AlignedData, this.host);
  }

  private options(colours: Colours): uPlot.Options {
    const axis = {
      stroke: colours.quiet,
      font: "12px system-ui, sans-serif",
      grid: { stroke: colours.grid, width: 1 },
      ticks: { show: false },
    };
    return {
      width: this.host.clientWidth,
      height: this.host.clientHeight,
      legend: { show: false },
      cursor: { show: false },
      scales: {
        x: { time: false, range: () => [1 - SHOWN_PARTS, 1] },
        y: { range: () => [0, ceiling(this.parts)] },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 26, values: (_, at) => at.map((v) => (v === 0 ? "now" : `${v}`)), space: 70 },
        { ...axis, size: 44, space: 34, values: (_, at) => at.map((v) => `${v}`) },
      ],
      series: [
        {},
        { stroke: colours.deadline, width: 2, dash: [7, 5], points: { show: false } },
        ...OUTCOMES.map((outcome) => ({
          paths: () => null,
          points: { show: (plot: uPlot, index: number) => drawMarks(plot, index, outcome, colours) },
        })),
      ],
    };
  }
}

/** Draws one outcome's points by its shape; tells uPlot that there is nothing left to draw. */
function drawMarks(plot: uPlot, index: number, outcome: Outcome, colours: Colours): boolean {
  const context = plot.ctx;
  const ratio = window.devicePixelRatio || 1;
  const r = (outcome === "pass" ? 2 : 4.6) * ratio;
  context.save();
  context.fillStyle = colours.outcomes[outcome];
  context.beginPath();
  plot.data[index]?.forEach((value, i) => {
    if (value === null || value === undefined) return;
    const x = plot.valToPos(plot.data[0][i] ?? 0, "x", true);
    const y = plot.valToPos(value, "y", true);
    if (outcome === "pass") {
      context.moveTo(x + r, y);
      context.arc(x, y, r, 0, 2 * Math.PI);
    } else if (outcome === "reject") {
      context.rect(x - r * 0.85, y - r * 0.85, r * 1.7, r * 1.7);
    } else {
      context.moveTo(x, y - r * 1.25);
      context.lineTo(x + r * 1.25, y + r);
      context.lineTo(x - r * 1.25, y + r);
    }
  });
  context.fill();
  context.restore();
  return false;
}

/** The palette as the browser resolves it: a custom property's own text is `light-dark(...)`, which no canvas reads. */
function readColours(): Colours {
  const probe = document.createElement("i");
  document.body.append(probe);
  const get = (name: string): string => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const colours = {
    ink: get("--ink"),
    quiet: get("--quiet"),
    grid: get("--line-soft"),
    deadline: get("--deadline"),
    outcomes: { pass: get("--pass-mark"), reject: get("--reject-mark"), not_inspected: get("--not-inspected-mark") },
  };
  probe.remove();
  return colours;
}
