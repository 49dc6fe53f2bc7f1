// SPDX-License-Identifier: AGPL-3.0-or-later
// The one socket of the page: comes back by itself, and tells how long nothing has been heard.
import { type Message, type Preview, unpackPreview } from "./messages";

export interface Listener {
  message(message: Message): void;
  preview(preview: Preview): void;
  connected(): void;
  lost(): void;
}

const SILENCE_MS = 4000;
const LONGEST_DELAY_MS = 5000;

export class LiveSocket {
  private socket: WebSocket | null = null;
  private heardMs = performance.now();
  private attempts = 0;

  constructor(
    private readonly url: string,
    private readonly listener: Listener,
  ) {
    this.open();
    // A socket may die without a word (a pulled cable): silence counts as lost.
    setInterval(() => {
      if (this.socket?.readyState === WebSocket.OPEN && this.silenceMs() > SILENCE_MS) this.socket.close();
    }, 1000);
  }

  silenceMs(): number {
    return performance.now() - this.heardMs;
  }

  private open(): void {
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => {
      this.attempts = 0;
      this.heardMs = performance.now();
      this.listener.connected();
    });
    socket.addEventListener("message", (event: MessageEvent<string | ArrayBuffer>) => {
      this.heardMs = performance.now();
      if (typeof event.data === "string") this.listener.message(JSON.parse(event.data) as Message);
      else this.listener.preview(unpackPreview(event.data));
    });
    socket.addEventListener("close", (event) => {
      this.listener.lost();
      void this.again(event.code);
    });
    this.socket = socket;
  }

  private async again(code: number): Promise<void> {
    if (code === 4401 || (await sessionIsOver())) {
      location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
      return;
    }
    this.attempts += 1;
    const delayMs = Math.min(LONGEST_DELAY_MS, 250 * 2 ** this.attempts);
    setTimeout(() => this.open(), delayMs);
  }
}

/** A refused socket says nothing of why; an ordinary request does. */
async function sessionIsOver(): Promise<boolean> {
  try {
    return (await fetch("/api/v1/session", { headers: { accept: "application/json" } })).status === 401;
  } catch {
    return false;
  }
}
