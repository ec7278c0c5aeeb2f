// What was counted in the frame on the canvas, and the facts of that frame.

import { classColour } from "./colours.js";
import { count, length, number, percent, place, plural, si, exact } from "./format.js";
import { el, pair } from "./dom.js";

/** Molecules per nm², all classes together; null where nothing was scanned. */
function density(frame) {
  const each = Object.values(frame.counts).map((one) => one.density_per_nm2);
  return each.some((value) => value === null) ? null : each.reduce((sum, value) => sum + value, 0);
}

const cut = (counts) => Object.values(counts).reduce((sum, each) => sum + each.edge, 0);

/** Fill the panel of counts; hidden: labels whose outlines are off; onToggle(label, on). */
export function showCounts(box, frame, hidden, onToggle) {
  if (frame === null) {
    box.replaceChildren(el("p", { class: "quiet" }, "Nothing counted yet."));
    return;
  }
  const focused = document.activeElement?.closest("[data-label]")?.dataset.label;
  box.replaceChildren(
    el("p", { class: "total" }, el("b", { id: "total" }, count(frame.total)), " ", atEdge(cut(frame.counts))),
    el(
      "dl",
      { class: "sums" },
      pair("Density", `${number(density(frame))} / nm²`),
      pair("Coverage", percent(frame.coverage)),
      pair("Scanned", `${number(frame.scanned_area_nm2)} nm²`),
    ),
    el(
      "ul",
      { class: "classes" },
      ...Object.entries(frame.counts).map(([label, each]) => classRow(label, each, hidden, onToggle)),
    ),
  );
  const again = [...box.querySelectorAll("[data-label]")].find((row) => row.dataset.label === focused);
  again?.querySelector("input").focus();
}

const atEdge = (edge) => el("span", { class: "quiet" }, edge === 0 ? "none at the edge" : `${count(edge)} at the edge`);

function classRow(label, each, hidden, onToggle) {
  const box = el("input", {
    type: "checkbox",
    checked: !hidden.has(label),
    "aria-label": `Show outlines of ${label}`,
    change: (event) => onToggle(label, event.target.checked),
  });
  box.style.accentColor = classColour(label);
  const mark = el("i", { class: "ring", "aria-hidden": "true" });
  mark.style.borderColor = classColour(label);
  return el(
    "li",
    { "data-label": label },
    el("label", {}, box, mark, el("span", { class: "class-name" }, label), el("b", {}, count(each.total))),
    el(
      "p",
      { class: "quiet" },
      each.total === 0
        ? "none in this frame"
        : `${count(each.edge)} at the edge, ${number(each.density_per_nm2)} / nm², ${percent(each.coverage)}`,
    ),
  );
}

/** One sentence for those who listen instead of looking. */
export function spoken(frame) {
  const each = Object.entries(frame.counts).map(([label, one]) => `${count(one.total)} ${label}`);
  return `${frame.name}: ${plural(frame.total, "molecule")}${each.length ? `, ${each.join(", ")}` : ""}.`;
}

/** Fill the line of facts below the picture. */
export function showFacts(box, frame) {
  if (frame === null) {
    box.replaceChildren();
    return;
  }
  const [width, height] = frame.size_nm;
  const scan = [frame.trace, frame.direction].filter(Boolean).join(", ");
  box.replaceChildren(
    pair("Taken", taken(frame), { title: `stored ${exact(frame.processed)}` }),
    pair("Size", `${length(width)} × ${length(height)}`),
    pair("Pixels", frame.partial ? `${frame.columns} × ${frame.rows}, ${frame.complete_rows} rows scanned` : `${frame.columns} × ${frame.rows}`),
    pair("Centre", `${frame.center_nm.map(place).join(", ")} nm`),
    frame.angle_deg ? pair("Angle", `${number(frame.angle_deg)}°`) : "",
    pair("Bias", si(frame.bias_v, "V")),
    pair("Set point", si(frame.setpoint, frame.setpoint_unit)),
    pair("Channel", `${frame.channel}${scan ? ` (${scan})` : ""}`),
    frame.comment ? pair("Comment", frame.comment, { class: "wide" }) : "",
  );
}

function taken(frame) {
  if (!frame.ended && !frame.started) return "not in the file";
  return exact(frame.ended ?? frame.started);
}

/** What hovering a molecule shows. */
export function moleculeFacts(molecule) {
  const mark = el("i", { class: "ring", "aria-hidden": "true" });
  mark.style.borderColor = classColour(molecule.label);
  const round = molecule.length_nm <= molecule.width_nm * 1.05;
  return [
    el("p", { class: "tip-title" }, mark, el("b", {}, molecule.label), el("span", { class: "quiet" }, ` score ${molecule.score.toFixed(2)}`)),
    el(
      "dl",
      {},
      pair("Position", `${molecule.center_nm.map(place).join(", ")} nm`),
      pair("Area", `${number(molecule.area_nm2)} nm²`),
      pair("Size", `${number(molecule.length_nm)} × ${number(molecule.width_nm)} nm`),
      pair("Long axis", round ? "round" : `${Math.round(molecule.orientation_deg)}° from x`),
      ...molecule.spectra.map((source) => pair("Spectrum", source.split(/[\\/]/).pop())),
    ),
    molecule.touches_edge ? el("p", { class: "tip-note" }, "Cut by the edge of the scan") : "",
  ];
}
