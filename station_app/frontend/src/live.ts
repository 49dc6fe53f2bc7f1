// SPDX-License-Identifier: AGPL-3.0-or-later
// The Line page: joins the socket with what is shown.
import { CameraTile } from "./live/cameras";
import { LatencyChart } from "./live/chart";
import { ago } from "./live/format";
import { choose, type Shown } from "./live/dwell";
import type { Message, Part, Preview } from "./live/messages";
import { Panels, type Words } from "./live/panels";
import { LiveSocket } from "./live/socket";

const KEPT_PARTS = 300;

function start(root: HTMLElement): void {
  const reasons = JSON.parse(document.querySelector("#reason-words")?.textContent ?? "{}") as Record<string, Words>;
  const panels = new Panels(root, reasons);
  const tiles = new Map<string, CameraTile>();
  for (const tile of root.querySelectorAll<HTMLElement>("[data-camera]")) {
    tiles.set(tile.dataset["camera"] ?? "", new CameraTile(tile));
  }
  const chartHost = root.querySelector<HTMLElement>("[data-chart]");
  const chart = chartHost ? new LatencyChart(chartHost) : null;
  let parts: Part[] = [];
  let shown: Shown | null = null;
  let level = "connecting";
  let isConnected = false;

  const isLive = (): boolean => isConnected && level !== "down" && level !== "connecting";

  function take(message: Message): void {
    switch (message.type) {
      case "station":
        level = message.station.level;
        panels.station(message.station);
        break;
      case "parts": {
        parts = (message.reset ? [] : parts).concat(message.parts).slice(-KEPT_PARTS);
        if (message.reset) shown = null;
        chart?.show(parts);
        panels.ticker(parts);
        break;
      }
      case "rejects":
        panels.rejects(message.rejects);
        break;
    }
    refresh();
  }

  function refresh(): void {
    shown = choose(shown, parts.at(-1), performance.now());
    panels.hero(shown, isLive());
    panels.lastReject(parts);
  }

  const socket = new LiveSocket(socketUrl(), {
    message: take,
    preview: (preview: Preview) => void tiles.get(preview.serial)?.show(preview),
    connected: () => {
      isConnected = true;
      panels.link("console", true);
    },
    lost: () => {
      isConnected = false;
      panels.link("console", false);
      refresh();
    },
  });

  setInterval(() => {
    if (!isConnected) {
      const seconds = socket.silenceMs() / 1000;
      panels.banner("lost", "Not live", `No connection to the console; last data ${ago(seconds)}. Trying again.`);
      panels.link("plc", false);
      panels.link("armed", false);
    }
    for (const tile of tiles.values()) tile.watch(!isLive());
    refresh();
  }, 500);
}

function socketUrl(): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`;
}

const root = document.querySelector<HTMLElement>("[data-live]");
if (root) start(root);
