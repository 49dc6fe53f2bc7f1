// SPDX-License-Identifier: AGPL-3.0-or-later
// Words and figures of the Line page. Text only ever enters as text.
import { ago, milliseconds, percent, shareOf, thousands } from "./format";
import type { Shown } from "./dwell";
import type { Outcome, Part, Process, Reject, Station } from "./messages";

export interface Words {
  label: string;
  means: string;
  check: string;
}

export const OUTCOME_WORDS: Record<Outcome, string> = {
  pass: "Pass",
  reject: "Reject",
  not_inspected: "Not inspected",
};
const BANNER_TITLES = { running: "Running", waiting: "Waiting", degraded: "Attention", down: "Station down" };
const TICKER_PARTS = 60;
const SVG = "http://www.w3.org/2000/svg";

export class Panels {
  private readonly texts = new Map<string, HTMLElement[]>();

  constructor(
    private readonly root: HTMLElement,
    private readonly reasons: Record<string, Words>,
  ) {
    for (const element of document.querySelectorAll<HTMLElement>("[data-text]")) {
      const name = element.dataset["text"] ?? "";
      this.texts.set(name, [...(this.texts.get(name) ?? []), element]);
    }
  }

  station(s: Station): void {
    const { counts } = s;
    const closed = counts.passed + counts.rejected + counts.not_inspected;
    this.banner(s.level, BANNER_TITLES[s.level], s.sentence);
    for (const [name, value] of [
      ["pass", counts.passed],
      ["reject", counts.rejected],
      ["not_inspected", counts.not_inspected],
    ] as const) {
      this.set(name, thousands(value));
      this.root.querySelector<HTMLElement>(`[data-text="${name}"]`)!.dataset["digits"] = String(Math.min(8, thousands(value).length));
      this.set(`${name}-share`, closed ? percent(shareOf(value, closed)) : "\u00a0");
    }
    this.set("yield", percent(s.first_pass_yield));
    this.set("yield-note", closed ? `of ${thousands(closed)} closed parts` : "no part closed yet");
    this.set("rate", s.parts_per_s.toFixed(1));
    this.set("triggers", thousands(counts.triggers));
    this.set("in_flight", thousands(counts.in_flight));
    this.set("p50", milliseconds(s.latency.p50_ms));
    this.set("p99", milliseconds(s.latency.p99_ms));
    this.set("deadline", milliseconds(s.latency.deadline_ms));
    this.set("epoch", s.line.epoch ? String(s.line.epoch) : "–");
    this.set("modbus", s.line.modbus_port ? String(s.line.modbus_port) : "–");
    this.set("armed", s.line.armed ? "Armed" : "Not armed");
    this.link("plc", s.line.plc_alive);
    this.link("armed", s.line.armed);
    this.bars("reasons", s.reasons.map(([name, count]) => [this.reason(name).label, count, name]));
    this.bars("defects", s.defects.map(([name, count]) => [name, count, ""]));
    this.processes(s.processes);
  }

  banner(level: string, title: string, sentence: string): void {
    this.root.dataset["level"] = level;
    this.set("banner-title", title);
    this.set("banner", sentence);
  }

  link(name: string, good: boolean): void {
    const element = document.querySelector<HTMLElement>(`[data-link="${name}"]`);
    if (!element) return;
    element.dataset["good"] = String(good);
    element.title = `${name === "plc" ? "PLC link" : name}: ${good ? "yes" : "no"}`;
  }

  hero(shown: Shown | null, live: boolean): void {
    const hero = this.root.querySelector<HTMLElement>("[data-hero]");
    if (!hero) return;
    if (!shown || !live) {
      hero.dataset["outcome"] = "none";
      this.set("hero-outcome", live ? "No part yet" : "No data");
      this.set("hero-kicker", live ? "Latest part" : "Not live");
      this.set("hero-why", shown ? `Last seen: part ${shown.part.seq}, ${OUTCOME_WORDS[shown.part.outcome]}` : "\u00a0");
      return;
    }
    const { part } = shown;
    hero.dataset["outcome"] = part.outcome;
    this.set("hero-outcome", OUTCOME_WORDS[part.outcome]);
    this.set("hero-kicker", `Part ${part.seq}`);
    this.set("hero-why", this.why(part));
  }

  lastReject(parts: readonly Part[]): void {
    const last = parts.findLast((part) => part.outcome === "reject");
    const seconds = last ? Math.max(0, Date.now() / 1000 - last.triggered_utc_ns / 1e9) : 0;
    this.set("last-reject", last ? `part ${last.seq}: ${this.why(last)}, ${ago(seconds)}` : "none in the latest parts");
  }

  private why(part: Part): string {
    if (part.outcome === "reject") return part.rejected_by.join(", ") || "Defect";
    if (part.outcome === "not_inspected") return this.reason(part.reason).label;
    return part.latency_ms === null ? "\u00a0" : `in ${milliseconds(part.latency_ms)}`;
  }

  ticker(parts: readonly Part[]): void {
    const list = this.root.querySelector("[data-ticker]");
    list?.replaceChildren(
      ...parts.slice(-TICKER_PARTS).map((part) => {
        const item = document.createElement("li");
        const link = document.createElement("a");
        link.href = `/parts/${part.id}`;
        link.className = `tick tick-${part.outcome}`;
        const words = `Part ${part.seq}: ${OUTCOME_WORDS[part.outcome]}${part.outcome === "pass" ? "" : `, ${this.why(part)}`}`;
        link.title = words;
        link.setAttribute("aria-label", words);
        link.append(shape(part.outcome));
        item.append(link);
        return item;
      }),
    );
  }

  rejects(rejects: readonly Reject[]): void {
    const list = this.root.querySelector("[data-rejects]");
    list?.replaceChildren(...rejects.map(rejectItem));
    this.root.querySelector("[data-rejects-empty]")?.toggleAttribute("hidden", rejects.length > 0);
  }

  private bars(name: string, rows: [string, number, string][]): void {
    const list = this.root.querySelector<HTMLElement>(`[data-bars="${name}"]`);
    if (!list) return;
    const most = Math.max(1, ...rows.map(([, count]) => count));
    const items = rows.slice(0, 5).map(([label, count, reason]) => {
      const item = document.createElement("li");
      const words = document.createElement(reason ? "a" : "span");
      words.textContent = label;
      if (words instanceof HTMLAnchorElement) {
        words.href = `/parts?reason=${encodeURIComponent(reason)}`;
        words.title = this.reason(reason).means;
      }
      const figure = document.createElement("b");
      figure.textContent = thousands(count);
      const bar = document.createElement("i");
      bar.style.setProperty("--share", String(count / most));
      item.append(words, figure, bar);
      return item;
    });
    if (items.length === 0) {
      const none = document.createElement("li");
      none.className = "bars-none";
      none.textContent = "Nothing";
      items.push(none);
    }
    list.replaceChildren(...items);
  }

  private processes(processes: readonly Process[]): void {
    const list = this.root.querySelector("[data-processes]");
    list?.replaceChildren(...processes.map(processItem));
    this.root.querySelector("[data-processes-empty]")?.toggleAttribute("hidden", processes.length > 0);
  }

  private reason(name: string): Words {
    return this.reasons[name] ?? { label: name.replaceAll("_", " "), means: "", check: "" };
  }

  set(name: string, text: string): void {
    for (const element of this.texts.get(name) ?? []) {
      if (element.textContent !== text) element.textContent = text;
    }
  }
}

function shape(outcome: Outcome): SVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "shape");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${outcome}`);
  svg.append(use);
  return svg;
}

function processItem(process: Process): HTMLLIElement {
  const item = document.createElement("li");
  item.className = "process";
  item.dataset["health"] = process.health;
  const name = element("span", "process-name", process.label);
  const health = element("span", "process-health", process.health);
  const facts = element("span", "process-facts", "");
  for (const [label, value] of process.facts) {
    const fact = element("span", "process-fact", "");
    fact.append(element("small", "", label), ` ${value.replaceAll(",", "\u202f")}`);
    facts.append(fact);
  }
  if (process.restarts > 0) {
    const fact = element("span", "process-fact", "");
    fact.append(element("small", "", "Restarts"), ` ${process.restarts}`);
    facts.append(fact);
  }
  item.append(name, health, facts);
  if (process.text) item.append(element("span", "process-text", process.text));
  return item;
}

function rejectItem({ part, view, findings }: Reject): HTMLLIElement {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = `/parts/${part.id}`;
  const why = part.rejected_by.join(", ");
  if (view?.image && view.width_px && view.height_px) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "picture");
    svg.setAttribute("viewBox", (view.seen_px ?? [0, 0, view.width_px, view.height_px]).join(" "));
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `Part ${part.seq}: ${why}`);
    const image = document.createElementNS(SVG, "image");
    image.setAttribute("href", `/images/${view.image}`);
    image.setAttribute("width", String(view.width_px));
    image.setAttribute("height", String(view.height_px));
    svg.append(image);
    for (const f of findings) {
      for (const kind of ["finding-halo", "finding-box"]) {
        const box = document.createElementNS(SVG, "rect");
        box.setAttribute("class", kind);
        box.setAttribute("x", String(f.x0));
        box.setAttribute("y", String(f.y0));
        box.setAttribute("width", String(f.x1 - f.x0));
        box.setAttribute("height", String(f.y1 - f.y0));
        svg.append(box);
      }
    }
    link.append(svg);
  } else {
    link.append(element("span", "no-picture", "no picture"));
  }
  link.append(element("span", "reject-why", why), element("span", "reject-seq", `part ${part.seq}`));
  item.append(link);
  return item;
}

function element(tag: string, className: string, text: string): HTMLElement {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}
