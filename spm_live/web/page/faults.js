// Frames that could not be used, and why.

import { readFaults } from "./api.js";
import { count, when } from "./format.js";
import { el } from "./dom.js";

const PAGE = 20;
const KEPT = 200;

export class Faults {
  constructor({ box, total }) {
    Object.assign(this, { box, total });
    this.all = [];
    this.number = 0;
    this.complete = true;
    this.opened = new Set();
  }

  /** Take over the newest ones of a snapshot and the number there are. */
  resync(faults, number) {
    this.all = faults;
    this.number = number;
    this.complete = faults.length >= number;
    this.draw();
  }

  add(fault) {
    if (this.all.some((other) => other.id === fault.id)) return;
    this.all = [fault, ...this.all];
    this.number += 1;
    if (this.all.length > KEPT) {
      this.all.length = KEPT;
      this.complete = false;
    }
    this.draw();
  }

  async older() {
    const last = this.all[this.all.length - 1].id;
    try {
      const more = await readFaults(PAGE, last);
      this.all = [...this.all, ...more.filter((fault) => fault.id < last)];
      this.complete = more.length < PAGE;
      this.draw();
    } catch {
      this.box.querySelector(":scope > li:last-child > button").textContent = "Not loaded; try again";
    }
  }

  draw() {
    this.total.textContent = this.number ? count(this.number) : "";
    if (this.all.length === 0) {
      this.box.replaceChildren(el("li", { class: "quiet" }, "None. Every frame so far could be used."));
      return;
    }
    const rows = this.all.map((fault) => this.row(fault));
    if (!this.complete) {
      rows.push(el("li", {}, el("button", { type: "button", click: () => this.older() }, "Older faults")));
    }
    this.box.replaceChildren(...rows);
  }

  row(fault) {
    return el(
      "li",
      { "data-id": fault.id },
      el("p", { class: "fault-head" }, el("b", { title: fault.source }, fault.name), el("time", { class: "quiet", datetime: fault.when }, when(fault.when))),
      el("p", {}, el("span", { class: "stage-word" }, fault.stage), " ", fault.reason),
      fault.detail ? this.detail(fault) : "",
    );
  }

  detail(fault) {
    const remember = (event) => this.opened[event.target.open ? "add" : "delete"](fault.id);
    return el(
      "details",
      { open: this.opened.has(fault.id), toggle: remember },
      el("summary", {}, "Traceback"),
      el("pre", {}, fault.detail),
    );
  }
}
