// The WebSocket to the daemon: kept open, watched, opened again with growing pauses.

import { readStatus, TokenError } from "./api.js";

const PAUSES_S = [1, 2, 4, 8, 15];
// The daemon speaks every two seconds at least; a laptop that slept leaves a socket that never says it is dead.
const SILENCE_S = 9;

/**
 * onMessage(message) for every message; onChange(state) with "open", "lost" (it tries again by itself)
 * or "refused" (the token is no longer valid).
 */
export class Connection {
  constructor({ onMessage, onChange }) {
    this.onMessage = onMessage;
    this.onChange = onChange;
    this.attempt = 0;
    this.socket = null;
    this.timers = { retry: 0, silence: 0 };
    addEventListener("online", () => this.now());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.socket === null) this.now();
    });
  }

  /** Open, or open again at once: a new connection begins with a snapshot of everything. */
  now() {
    clearTimeout(this.timers.retry);
    this.drop();
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/events`);
    this.socket = socket;
    this.listen();
    socket.addEventListener("message", (event) => {
      if (this.socket !== socket) return;
      this.listen();
      const message = JSON.parse(event.data);
      if (message.type === "snapshot") {
        this.attempt = 0;
        this.onChange("open");
      }
      this.onMessage(message);
    });
    socket.addEventListener("close", () => {
      if (this.socket === socket) this.lost();
    });
  }

  listen() {
    clearTimeout(this.timers.silence);
    this.timers.silence = setTimeout(() => this.lost(), SILENCE_S * 1000);
  }

  drop() {
    clearTimeout(this.timers.silence);
    const socket = this.socket;
    this.socket = null;
    if (socket !== null) socket.close();
  }

  async lost() {
    this.drop();
    const pause = PAUSES_S[Math.min(this.attempt, PAUSES_S.length - 1)];
    this.attempt += 1;
    this.onChange("lost");
    this.timers.retry = setTimeout(() => this.now(), pause * 1000);
    try {
      await readStatus(); // a refused WebSocket does not say why; this does
    } catch (error) {
      if (error instanceof TokenError) {
        clearTimeout(this.timers.retry);
        this.onChange("refused");
      }
    }
  }
}
