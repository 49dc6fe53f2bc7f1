// SPDX-License-Identifier: AGPL-3.0-or-later
// One tile a camera: the latest picture on a canvas with its findings drawn, and the same findings as a list,
// because nobody can hear a canvas.
import type { Finding, Outcome, Preview, Rectangle } from "./messages";

const STALE_MS = 3000;
/** A picture that was not passed stays long enough to be looked at. */
const NOTABLE_MS = 1000;
/** Fainter findings are drawn thin and stand in the list only. */
const SURE_SCORE = 0.3;
const LABEL_FONT = "600 12px system-ui, sans-serif";

export class CameraTile {
  private readonly canvas: HTMLCanvasElement;
  private readonly caption: HTMLElement;
  private readonly list: HTMLElement;
  private readonly note: HTMLElement;
  private readonly seen: Rectangle;
  private bitmap: ImageBitmap | null = null;
  private preview: Preview | null = null;
  private seenMs = 0;
  private version = 0;

  constructor(private readonly root: HTMLElement) {
    this.canvas = child(root, "[data-canvas]") as HTMLCanvasElement;
    this.caption = child(root, "[data-caption]");
    this.list = child(root, "[data-findings]");
    this.note = child(root, "[data-empty-text]");
    this.seen = (root.dataset["seen"] ?? "").split(" ").map(Number) as Rectangle;
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  async show(preview: Preview): Promise<void> {
    const isHeld = this.preview !== null && this.preview.outcome !== "pass";
    if (isHeld && performance.now() - this.seenMs < NOTABLE_MS) return;
    const version = ++this.version;
    let bitmap: ImageBitmap;
    try {
      bitmap = await createImageBitmap(preview.jpeg);
    } catch {
      return; // a torn picture: the next one comes in a fifth of a second
    }
    if (version !== this.version) {
      bitmap.close(); // overtaken by a newer one while decoding
      return;
    }
    this.bitmap?.close();
    this.bitmap = bitmap;
    this.preview = preview;
    this.seenMs = performance.now();
    this.root.dataset["outcome"] = preview.outcome;
    delete this.root.dataset["stale"];
    this.caption.textContent = `part ${preview.seq}`;
    this.list.replaceChildren(...preview.findings.map(listItem));
    this.draw();
  }

  /** Marks the tile when its picture has become old, or the station is down. */
  watch(down: boolean): void {
    const old = this.preview !== null && performance.now() - this.seenMs > STALE_MS;
    if (down || old) {
      this.root.dataset["stale"] = "true";
      this.note.textContent = this.preview === null ? "No picture" : "Not live: last picture received";
    } else if (this.preview === null) {
      delete this.root.dataset["stale"];
      this.note.textContent = "Waiting for the first picture";
    }
  }

  private draw(): void {
    const { bitmap, preview, canvas } = this;
    const context = canvas.getContext("2d");
    if (!bitmap || !preview || !context) return;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const [seenX, seenY, seenWidth, seenHeight] = this.seen;
    const scale = Math.min(width / seenWidth, height / seenHeight);
    const left = (width - seenWidth * scale) / 2;
    const top = (height - seenHeight * scale) / 2;
    context.clearRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    const [shownWidth, shownHeight] = [seenWidth * scale, seenHeight * scale];
    // half a pixel less on each side: smoothing would else draw in what lies just outside the view
    const [x, y, w, h] = [seenX + 0.5, seenY + 0.5, seenWidth - 1, seenHeight - 1];
    context.drawImage(bitmap, x, y, w, h, left, top, shownWidth, shownHeight);
    // the surest last, so that it lies on top
    for (const finding of preview.findings.toSorted((a, b) => a.score - b.score)) {
      drawFinding(context, finding, { left: left - seenX * scale, top: top - seenY * scale, scale, ratio }, preview.outcome);
    }
  }
}

interface Placement {
  left: number;
  top: number;
  scale: number;
  ratio: number;
}

function drawFinding(context: CanvasRenderingContext2D, f: Finding, at: Placement, outcome: Outcome): void {
  const margin = 3 * at.ratio;
  const x = at.left + f.x0 * at.scale - margin;
  const y = at.top + f.y0 * at.scale - margin;
  const width = (f.x1 - f.x0) * at.scale + 2 * margin;
  const height = (f.y1 - f.y0) * at.scale + 2 * margin;
  const isSure = f.score >= SURE_SCORE;
  // Dark halo under a light line: visible on any metal.
  context.lineJoin = "round";
  context.strokeStyle = "rgba(0, 0, 0, 0.75)";
  context.lineWidth = (isSure ? 5 : 2.5) * at.ratio;
  context.strokeRect(x, y, width, height);
  context.strokeStyle = outcome === "reject" ? "#ff7a45" : "#ffd24a";
  context.lineWidth = (isSure ? 2.5 : 1) * at.ratio;
  context.strokeRect(x, y, width, height);
  if (!isSure) return;
  drawLabel(context, `${f.defect_class} ${Math.round(100 * f.score)} %`, x, y, height, at.ratio);
}

function drawLabel(
  context: CanvasRenderingContext2D,
  text: string,
  x: number,
  y: number,
  boxHeight: number,
  ratio: number,
): void {
  context.font = LABEL_FONT.replace("12px", `${12 * ratio}px`);
  context.textBaseline = "middle";
  const height = 18 * ratio;
  const width = context.measureText(text).width + 10 * ratio;
  const left = Math.max(0, Math.min(x, context.canvas.width - width));
  const above = y - height - 3 * ratio;
  const top = above >= 0 ? above : Math.min(y + boxHeight + 3 * ratio, context.canvas.height - height);
  context.fillStyle = "rgba(0, 0, 0, 0.82)";
  context.beginPath();
  context.roundRect(left, top, width, height, 4 * ratio);
  context.fill();
  context.fillStyle = "#ffffff";
  context.fillText(text, left + 5 * ratio, top + height / 2 + ratio);
}

function listItem(finding: Finding): HTMLLIElement {
  const item = document.createElement("li");
  const name = document.createElement("span");
  name.className = "tag";
  name.textContent = finding.defect_class;
  const size = Math.round(Math.max(finding.x1 - finding.x0, finding.y1 - finding.y0));
  item.append(name, ` ${Math.round(100 * finding.score)} %, ${size} px`);
  return item;
}

function child(root: HTMLElement, selector: string): HTMLElement {
  const found = root.querySelector<HTMLElement>(selector);
  if (!found) throw new Error(`The page has no ${selector}.`);
  return found;
}
