// What became of the molecules since the frame before of the same place: the drift in words, and a table.

import { readFrame, readLinks } from "./api.js";
import { classColour } from "./colours.js";
import { count, number, plural, UNKNOWN } from "./format.js";
import { el, pair } from "./dom.js";

const ROWS = 12; // a table for a glance; all of them are on the picture
const KINDS = ["stayed", "moved", "turned", "appeared", "vanished"];

const METHODS = {
  both: "Pictures and molecules say the same",
  molecules: "By the molecules alone",
  pictures: "By the pictures alone",
  "molecules, not pictures": "By the molecules; the pictures say something else",
  "pictures, not molecules": "By the pictures; the molecules say something else",
};

/** The panel, and the arrows over the picture while a person wants to see them. */
export class Movement {
  /** picture: where the arrows are drawn; onChange() after they came or went. */
  constructor({ section, box, button, picture, onChange }) {
    Object.assign(this, { section, box, button, picture, onChange });
    this.on = false;
    this.frame = null;
    button.addEventListener("click", () => this.toggle());
  }

  get drawn() {
    return this.picture.options.movement !== null;
  }

  toggle() {
    this.on = !this.on;
    this.button.setAttribute("aria-pressed", String(this.on));
    this.load(this.frame);
  }

  /** Look again, at this frame; null, and a scan in progress, have no frame before. */
  async load(frame) {
    this.frame = frame;
    const possible = frame !== null && !frame.live;
    this.button.disabled = !possible;
    const wanted = this.on && possible;
    this.section.hidden = !wanted;
    if (this.drawn && (!wanted || this.picture.options.movement.links.frame !== frame.id)) this.draw(null);
    if (!wanted) return;
    try {
      const links = await readLinks(frame.id);
      const movement = links.previous === null ? null : { links, before: await readFrame(links.previous) };
      if (this.frame !== frame || !this.on) return;
      showMovement(this.box, frame, movement, (index) => this.picture.mark(index));
      this.draw(movement);
    } catch (error) {
      this.box.replaceChildren(el("p", { class: "quiet" }, `Not known: ${error.message}`));
    }
  }

  draw(movement) {
    this.picture.set({ movement });
    this.onChange();
  }
}

/** Fill the panel; movement: null where there is no frame before. onMark(index) points at a molecule. */
function showMovement(box, frame, movement, onMark) {
  if (movement === null) {
    box.replaceChildren(el("p", { class: "quiet" }, "No earlier frame of this place to compare with."));
    return;
  }
  const { links, before } = movement;
  box.replaceChildren(
    el("p", { class: "quiet" }, `Since ${before.name}`, links.minutes === null ? "" : `, ${number(links.minutes, 2)} min before`),
    el("p", { class: "drift" }, ...driftWords(links)),
    el("dl", { class: "sums kinds" }, ...KINDS.map((kind) => pair(kind, count(links.counts[kind] ?? 0)))),
    table(frame, links, onMark),
  );
}

function driftWords(links) {
  if (links.drift_nm === null) return ["The drift could not be found."];
  const rate = links.drift_nm_per_min;
  const [x, y] = rate ?? links.drift_nm;
  const unit = rate ? "nm/min" : "nm";
  const sure = [METHODS[links.method], links.agreement === null ? "" : `${Math.round(links.agreement * 100)} % of the molecules confirm it`];
  return [
    el("b", {}, `Drift ${number(Math.hypot(x, y), 2)} ${unit}`),
    `: ${signed(x)} along x, ${signed(y)} along y. `,
    el("span", { class: "quiet" }, sure.filter(Boolean).map((words) => `${words}.`).join(" ")),
  ];
}

const signed = (value) => `${value > 0 ? "+" : ""}${number(value, 2)}`;

function table(frame, links, onMark) {
  const far = (link) => Math.hypot(...(link.moved_nm ?? [0, 0]));
  const changed = links.links.filter((link) => link.kind === "moved" || link.kind === "turned");
  changed.sort((one, other) => far(other) - far(one));
  if (changed.length === 0) return el("p", { class: "quiet" }, "No molecule moved or turned.");
  const row = (link) => {
    const molecule = frame.molecules[link.molecule];
    const mark = el("i", { class: "ring", "aria-hidden": "true" });
    mark.style.borderColor = classColour(molecule.label);
    return el(
      "tr",
      { pointerenter: () => onMark(link.molecule), pointerleave: () => onMark(-1) },
      el("td", {}, mark, " ", molecule.label, el("span", { class: "quiet" }, ` no. ${link.track}`)),
      el("td", {}, `${number(far(link), 2)} nm`),
      el("td", {}, link.turned_deg === null ? UNKNOWN : `${number(link.turned_deg, 2)}°`),
    );
  };
  const rest = changed.length - ROWS;
  return el(
    "table",
    {},
    el("thead", {}, el("tr", {}, ...["Molecule", "Moved", "Turned"].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...changed.slice(0, ROWS).map(row)),
    rest > 0 ? el("caption", {}, `and ${plural(rest, "other")} that moved less`) : "",
  );
}
