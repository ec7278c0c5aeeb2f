// The strip above the picture: every scan in progress, how far it is, and which one is followed.

import { el } from "./dom.js";
import { isInProgress } from "./live.js";

const MOODS = { scanning: "busy", waiting: "busy", replaced: "good", ended: "bad" };

export class Progress {
  /** box: the strip; onFollow(key) when a person chooses a scan. */
  constructor({ box, onFollow }) {
    Object.assign(this, { box, onFollow });
    this.items = new Map();
  }

  /** Show the scans; on: the key of the one on the canvas, null where a finished frame is. */
  update(live, on) {
    const scans = live.listed;
    const told = this.named(scans);
    this.box.hidden = scans.length === 0;
    this.box.classList.toggle("several", scans.length > 1);
    const wanted = new Set(scans.map((scan) => scan.key));
    for (const [key, item] of this.items) {
      if (wanted.has(key)) continue;
      item.node.remove();
      this.items.delete(key);
    }
    for (const scan of scans) {
      if (!this.items.has(scan.key)) this.items.set(scan.key, this.item(scan.key));
      this.fill(this.items.get(scan.key), scan, live, on, told.get(scan.key));
    }
    const nodes = scans.map((scan) => this.items.get(scan.key).node);
    if (nodes.some((node, at) => this.box.children[at] !== node)) this.box.append(...nodes); // else the focus would go
  }

  /** What each is called: its source, with the name of the scan where that is not enough. */
  named(scans) {
    const often = (source) => scans.filter((scan) => scan.source === source).length > 1;
    return new Map(scans.map((scan) => [scan.key, often(scan.source) ? `${scan.source}, ${scan.name}` : scan.source]));
  }

  item(key) {
    const parts = {
      dot: el("i", { class: "dot", "aria-hidden": "true" }),
      source: el("b", { class: "scan-source" }),
      words: el("span", { class: "scan-words" }),
      part: el("b", { class: "scan-part" }),
      fill: el("i", {}),
    };
    const bar = el("span", { class: "bar", "aria-hidden": "true" }, parts.fill);
    const node = el(
      "button",
      { type: "button", class: "scan", "data-key": key, click: () => this.onFollow(key) },
      parts.dot, parts.source, parts.words, parts.part, bar,
    );
    return { node, ...parts };
  }

  fill(item, scan, live, on, source) {
    const quiet = live.quietFor(scan) !== null;
    const part = scan.state === "replaced" ? 1 : scan.lines_done / scan.rows;
    item.node.dataset.state = scan.state;
    item.node.setAttribute("aria-pressed", String(scan.key === on));
    item.node.title = `${scan.source}: ${scan.name}\n${live.words(scan)}`;
    item.dot.className = `dot ${quiet ? "bad" : MOODS[scan.state]}`;
    write(item.source, source);
    write(item.words, live.words(scan));
    item.words.classList.toggle("bad", quiet || scan.state === "ended");
    write(item.part, isInProgress(scan) ? `${Math.floor(part * 100)} %` : "");
    item.fill.style.width = `${part * 100}%`;
  }
}

/** Text is only touched where it changes: a person may be copying it. */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
