// The list of past frames: pages of it are loaded as they come into sight.

import { thumbnailAddress } from "./api.js";
import { classColour } from "./colours.js";
import { count, plural, when } from "./format.js";
import { el } from "./dom.js";

const AHEAD_PX = 600; // older frames are loaded before a person gets to the end
const KEPT_ROWS = 600; // weeks of frames must not pile up in a page that is left open

export class History {
  /** list: a FrameList; onPick(id) when a person chooses; onWanted() when older ones should be loaded. */
  constructor({ box, list, onPick, onWanted }) {
    Object.assign(this, { box, list, onPick, onWanted });
    this.rows = new Map();
    this.shown = null;
    this.end = el("p", { class: "history-end quiet" });
    box.append(this.end);
    new IntersectionObserver(() => this.more(), { root: box, rootMargin: `${AHEAD_PX}px` }).observe(this.end);
  }

  /** Ask for older frames while the end of the list is near. */
  more() {
    if (this.list.complete || this.list.all.length === 0) return;
    // Measured now: what the observer said last may be older than the rows that were added since.
    const [end, box] = [this.end.getBoundingClientRect(), this.box.getBoundingClientRect()];
    if (end.top < box.bottom + AHEAD_PX && end.left < box.right + AHEAD_PX) this.onWanted();
  }

  /** Bring the rows in line with the list; following: nobody is looking at past frames. */
  update(following) {
    if (following && this.box.scrollTop === 0 && this.box.scrollLeft === 0) this.list.trim(KEPT_ROWS);
    const today = new Date().toDateString();
    const stale = today !== this.today; // yesterday's rows say the time alone
    this.today = today;
    const wanted = new Map(this.list.all.map((frame) => [frame.id, frame]));
    for (const [id, row] of this.rows) {
      if (!stale && wanted.has(id) && look(wanted.get(id)) === row.look) continue;
      row.node.remove();
      this.rows.delete(id);
    }
    let after = null;
    for (const frame of this.list.all) {
      let row = this.rows.get(frame.id);
      if (row === undefined) {
        row = { node: this.row(frame), look: look(frame) };
        this.rows.set(frame.id, row);
        if (after === null) this.box.prepend(row.node);
        else after.after(row.node);
      }
      after = row.node;
    }
    this.end.textContent = this.list.complete ? "" : "Loading older frames…";
    this.end.hidden = this.list.all.length === 0;
    this.mark(this.shown);
  }

  /** Say that loading did not work; the next scroll tries again. */
  failed() {
    this.end.textContent = "Older frames could not be loaded.";
  }

  /** Mark the frame that is on the canvas. */
  mark(id) {
    this.rows.get(this.shown)?.node.removeAttribute("aria-current");
    this.shown = id;
    this.rows.get(id)?.node.setAttribute("aria-current", "true");
  }

  /** Scroll the list, and nothing but the list, until the marked frame is in sight. */
  reveal() {
    const node = this.rows.get(this.shown)?.node;
    if (!node) return;
    const [row, box] = [node.getBoundingClientRect(), this.box.getBoundingClientRect()];
    this.box.scrollTop += Math.min(0, row.top - box.top) + Math.max(0, row.bottom - box.bottom);
    this.box.scrollLeft += Math.min(0, row.left - box.left) + Math.max(0, row.right - box.right);
  }

  row(frame) {
    const counts = Object.entries(frame.counts).filter(([, each]) => each.total > 0);
    return el(
      "button",
      { type: "button", class: "row", "data-id": frame.id, title: frame.source, click: () => this.onPick(frame.id) },
      el("span", { class: "thumb" }, thumbnail(frame)),
      el(
        "span",
        { class: "row-text" },
        el("span", { class: "row-name" }, frame.name),
        el("span", { class: "row-time quiet" }, flaw(frame), frame.partial ? el("b", {}, "partial ") : "", when(frame.ended ?? frame.processed)),
        el(
          "span",
          { class: "row-counts", title: `${plural(frame.total, "molecule")}` },
          el("b", {}, count(frame.total)),
          ...counts.map(([label, each]) => part(label, each.total)),
        ),
      ),
    );
  }
}

/** What a row shows that may change: other content under the number, or a quality that is known by now. */
const look = (frame) => `${frame.sha256} ${frame.quality?.verdict ?? ""}`;

/** A word on a scan that did not look good while it grew. */
function flaw(frame) {
  const verdict = frame.quality?.verdict;
  if (verdict !== "doubtful" && verdict !== "bad") return "";
  return el("b", { class: "flaw", "data-verdict": verdict, title: frame.quality.reasons.join("; ") }, `${verdict} `);
}

/** The small picture in the scan's true proportions, whatever its pixels. */
function thumbnail(frame) {
  const image = el("img", { src: thumbnailAddress(frame), alt: "", loading: "lazy", decoding: "async" });
  const longest = Math.max(...frame.size_nm);
  image.style.width = `${(100 * frame.size_nm[0]) / longest}%`;
  image.style.height = `${(100 * frame.size_nm[1]) / longest}%`;
  return image;
}

function part(label, total) {
  const mark = el("i", { class: "dot", "aria-hidden": "true" });
  mark.style.background = classColour(label);
  return el("span", { class: "row-count", title: label }, mark, count(total), el("span", { class: "unseen" }, ` ${label}`));
}
