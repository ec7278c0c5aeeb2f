// The scans in progress that the page knows of, and which of them it follows.

import { number, count, span } from "./format.js";

const KEPT = 40; // scans that are over: the quality seen while they grew is still told beside their frame
const QUIET_S = 10; // a line may be late by so much, and by two more lines, before that is said

const IN_PROGRESS = new Set(["scanning", "waiting"]);

export const isInProgress = (scan) => scan !== null && scan !== undefined && IN_PROGRESS.has(scan.state);

/** Whether there is something to look at: the frame before stays on the canvas until then. */
export const isWorthShowing = (scan) =>
  scan.lines_mapped > 0 || scan.lines_done > scan.rows / 10 || scan.state === "ended";

/**
 * A scan in progress in the shape of a frame, so that it is drawn and described by the same code. Its picture goes as
 * far as it was worked on; where it cannot be worked on there is no picture, and it goes as far as the tip.
 */
export function asFrame(scan) {
  const rows = scan.model === null ? scan.lines_done : scan.lines_mapped;
  return { ...scan, id: null, live: true, partial: false, complete_rows: rows };
}

export class LiveScans {
  constructor() {
    this.all = new Map();
    this.followed = null; // key
    this.heard = new Map(); // key to {lines, since}: when the number of lines last rose, on this computer's clock
  }

  /** The scan that is followed, in progress or over; null for none. */
  get current() {
    return this.all.get(this.followed) ?? null;
  }

  /** Scans to choose from: all in progress, and the followed one although it is over, until its source goes on. */
  get listed() {
    const goesOn = (source) => this.newest(source) !== null;
    return [...this.all.values()].filter(
      (scan) => isInProgress(scan) || (scan.key === this.followed && !goesOn(scan.source)),
    );
  }

  /** Take over what a snapshot tells; what is over stays known for the frames that came of it. */
  resync(scans, restarted) {
    // A daemon that was started anew counts revisions from 1 again.
    const over = restarted ? [] : [...this.all.values()].filter((scan) => scan.state === "replaced");
    this.all = new Map([...over, ...scans].map((scan) => [scan.key, scan]));
    for (const scan of scans) this.note(scan);
    this.settle();
  }

  /** Take a message; false if a newer one was there. */
  take(scan) {
    if ((this.all.get(scan.key)?.revision ?? -1) >= scan.revision) return false;
    this.all.set(scan.key, scan);
    this.note(scan);
    this.settle();
    return true;
  }

  note(scan) {
    const before = this.heard.get(scan.key);
    if (before?.lines !== scan.lines_done) this.heard.set(scan.key, { lines: scan.lines_done, since: Date.now() });
  }

  /** Forget the oldest that are over, and follow a scan where none is followed: the one begun last. */
  settle() {
    const over = [...this.all.values()].filter((scan) => !isInProgress(scan) && scan.key !== this.followed);
    for (const scan of over.slice(0, Math.max(0, over.length - KEPT))) this.all.delete(scan.key);
    for (const key of this.heard.keys()) if (!this.all.has(key)) this.heard.delete(key);
    if (this.current === null) this.followed = this.newest()?.key ?? null;
  }

  /** Of the scans in progress the one begun last, of one source or of any; null for none. */
  newest(source = null) {
    const running = [...this.all.values()].filter(
      (scan) => isInProgress(scan) && (source === null || scan.source === source),
    );
    return running.reduce((best, scan) => (best === null || scan.begun > best.begun ? scan : best), null);
  }

  /** Where the followed scan is over: the next one of its source, or one that was begun since. */
  next() {
    const { current } = this;
    if (current === null || isInProgress(current)) return current;
    const other = this.newest();
    return this.newest(current.source) ?? (other !== null && other.begun > current.updated ? other : null);
  }

  /** Follow what is newest. */
  goOn() {
    this.followed = this.next()?.key ?? this.followed;
  }

  /** The scan that became a frame; null where it was not seen growing. */
  of(frame) {
    return [...this.all.values()].find((scan) => scan.frame_id === frame.id && scan.name === frame.name) ?? null;
  }

  /** The newest scan with the name of a file; null for none. */
  named(name) {
    return [...this.all.values()].reverse().find((scan) => scan.name === name) ?? null;
  }

  /** How far it is, in words. */
  words(scan, now = Date.now()) {
    const lines = `${count(scan.lines_done)} of ${count(scan.rows)} lines`;
    if (scan.state === "replaced") return `finished, ${count(scan.rows)} lines`;
    const reached = scan.lines_done < scan.rows ? `stopped at line ${count(scan.lines_done)} of ${count(scan.rows)}` : lines;
    if (scan.state === "ended") return `${reached}, no file`;
    if (scan.state === "waiting") return `${reached}, waiting for its file`;
    const quiet = this.quietFor(scan, now);
    if (quiet !== null) return `${lines}, no new line for ${span(quiet)}`;
    const left = scan.time_left_s === null ? "" : `, ${timeLeft(scan.time_left_s)}`;
    return lines + left;
  }

  /** For how many seconds a line is overdue; null while all is well, or where nobody can tell. */
  quietFor(scan, now = Date.now()) {
    const left = scan.rows - scan.lines_done;
    if (scan.state !== "scanning" || scan.time_left_s === null || left <= 0) return null;
    const lineTime = scan.time_left_s / left;
    const quiet = (now - (this.heard.get(scan.key)?.since ?? now)) / 1000;
    return quiet > QUIET_S + 3 * lineTime ? quiet : null;
  }
}

/** The time that is left, no finer than it is known. */
export function timeLeft(seconds) {
  if (seconds < 5) return "a few seconds left";
  if (seconds < 90) return `about ${Math.ceil(seconds / 5) * 5} s left`;
  if (seconds < 7200) return `about ${Math.round(seconds / 60)} min left`;
  return `about ${number(seconds / 3600, 2)} h left`;
}
