// Puts scans in progress on the canvas while the newest is followed, and their final frames in their place.

import { livePreviewAddress } from "./api.js";
import { asFrame, isInProgress, isWorthShowing } from "./live.js";

const HOLD_MS = 4000; // a finished frame is shown for so long at least before the next scan takes its place

export class Growing {
  /** live: the scans; list: the finished frames; view: what is shown; show, showById: as in main.js. */
  constructor({ live, list, view, show, showById }) {
    Object.assign(this, { live, list, view, show, showById });
    this.latest = null; // the last frame that was told, in full
    this.finishedAt = 0;
    this.running = false;
  }

  /** Whether the scan that is followed can be put on the canvas. */
  get isPossible() {
    const { current } = this.live;
    return isInProgress(current) && (isWorthShowing(current) || this.list.newest === null);
  }

  /** Whether a new frame is not to be shown: for a scan in progress, or because it is of another instrument. */
  holdsOff(frame) {
    const { current } = this.live;
    if (this.view.shown?.live && isInProgress(current)) return true;
    const scan = this.live.named(frame.name);
    return scan !== null && current !== null && scan.key !== current.key && this.view.shown !== null;
  }

  /** After news of any scan: show the followed one, its final frame, or the scan after it. */
  news() {
    if (!this.view.following) return;
    const { current } = this.live;
    if (isInProgress(current)) {
      if (this.isPossible) this.grow();
      return;
    }
    if (this.view.shown?.live && this.view.shown.key === current?.key) {
      if (current.state === "replaced") this.final(current);
      else this.grow(); // over, and no file came of it: it stays until there is something newer
    }
    const next = this.live.next();
    if (isInProgress(next) && isWorthShowing(next) && Date.now() - this.finishedAt > HOLD_MS) {
      this.live.goOn();
      this.grow();
    }
  }

  /** Show the followed scan as far as it goes; what comes while its picture is loading is shown after it. */
  async grow() {
    if (this.running) return;
    this.running = true;
    try {
      let shown = null;
      for (;;) {
        const scan = this.live.current;
        if (!this.view.following || scan === null || scan === shown || scan.state === "replaced") break;
        shown = scan;
        await this.show(asFrame(scan), scan.lines_mapped > 0 ? livePreviewAddress(scan) : null);
      }
    } finally {
      this.running = false;
    }
  }

  /** The final map of a scan takes the place of the live one; the picture stays until it is there. */
  async final(scan) {
    this.finishedAt = Date.now();
    if (this.latest?.id === scan.frame_id) await this.show(this.latest);
    else await this.showById(scan.frame_id);
  }

  /** A person chose a scan. */
  async choose(key) {
    this.live.followed = key;
    if (this.live.current.state === "replaced") await this.final(this.live.current);
    else await this.grow();
  }
}
