// What the rules of the configuration asked to be told: the newest above everything, all of them in a list.

import { count, when } from "./format.js";
import { el } from "./dom.js";

const KEPT = 50;
const REMEMBERED = 200;
const STORED = "spm-live-dismissed";

/** A notice has no number: what it says, and when, is unique. */
const idOf = (notice) => [notice.when, notice.rule, notice.key, notice.scan].join("|");

export class Notices {
  /** section: hidden where there is nothing to tell; onFrame(id) when a person wants to see the frame. */
  constructor({ section, box, total, banner, onFrame }) {
    Object.assign(this, { section, box, total, banner, onFrame });
    this.all = [];
    this.dismissed = new Set(remembered());
    this.draw();
  }

  /** Take over the notices of a snapshot, newest first. */
  resync(notices) {
    this.all = notices;
    this.draw();
  }

  add(notice) {
    if (this.all.some((other) => idOf(other) === idOf(notice))) return;
    this.all = [notice, ...this.all].slice(0, KEPT);
    this.draw();
  }

  dismiss(notices) {
    for (const notice of notices) this.dismissed.add(idOf(notice));
    try {
      sessionStorage.setItem(STORED, JSON.stringify([...this.dismissed].slice(-REMEMBERED)));
    } catch {
      // a browser that keeps nothing shows them again after a reload
    }
    this.draw();
  }

  draw() {
    const shown = this.all.filter((notice) => !this.dismissed.has(idOf(notice)));
    this.section.hidden = shown.length === 0;
    this.total.textContent = shown.length ? count(shown.length) : "";
    this.box.replaceChildren(
      ...shown.map((notice) => this.row(notice)),
      shown.length > 1 ? el("li", {}, el("button", { type: "button", click: () => this.dismiss(shown) }, "Dismiss all")) : "",
    );
    const newest = shown[0] === this.all[0] ? (shown[0] ?? null) : null; // an older one is no news
    this.banner.hidden = newest === null;
    this.banner.replaceChildren(...(newest === null ? [] : this.said(newest)));
  }

  said(notice) {
    return [
      el("span", { title: `${notice.text} ${from(notice)}` }, el("time", { datetime: notice.when }, when(notice.when)), " ", el("b", {}, notice.text), " ", from(notice)),
      this.frameButton(notice),
      el("button", { type: "button", click: () => this.dismiss([notice]) }, "Dismiss"),
    ];
  }

  row(notice) {
    return el(
      "li",
      {},
      el(
        "p",
        { class: "notice-head" },
        el("b", {}, notice.rule),
        el("time", { class: "quiet", datetime: notice.when }, when(notice.when)),
        el("button", { type: "button", class: "dismiss", "aria-label": `Dismiss the notice ${notice.rule}`, click: () => this.dismiss([notice]) }, "×"),
      ),
      el("p", {}, notice.text),
      el("p", { class: "quiet" }, from(notice), " ", this.frameButton(notice)),
    );
  }

  frameButton(notice) {
    if (notice.frame_id === null) return "";
    return el("button", { type: "button", class: "link", click: () => this.onFrame(notice.frame_id) }, "Show the frame");
  }
}

/** Where it comes from, as far as its text does not say so. */
function from(notice) {
  const name = notice.name || notice.scan;
  const line = notice.lines ? `line ${count(notice.lines)}` : "";
  return [notice.source, ...[name, line].filter((part) => part && !notice.text.includes(part))].join(", ");
}

function remembered() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(STORED) ?? "[]");
    return Array.isArray(kept) ? kept : [];
  } catch {
    return [];
  }
}
