// What was counted in the frame on the canvas, and the facts of that frame.

import { classColour } from "./colours.js";
import { count, exact, length, number, percent, place, plural, si, withError } from "./format.js";
import { el, pair } from "./dom.js";

/** Molecules per nm², all classes together; null where nothing was scanned. */
function density(frame) {
  const each = Object.values(frame.counts).map((one) => one.density_per_nm2);
  return each.some((value) => value === null) ? null : each.reduce((sum, value) => sum + value, 0);
}

/** Its statistical error, that of the classes in quadrature; null where none is told: a finished frame has none. */
function densityError(frame) {
  const each = Object.values(frame.counts).map((one) => one.density_error_per_nm2 ?? null);
  return each.length === 0 || each.includes(null) ? null : Math.hypot(...each);
}

const sum = (counts, name) => Object.values(counts).reduce((all, each) => all + (each[name] ?? 0), 0);

/** Fill the panel of counts; hidden: labels whose outlines are off; onToggle(label, on). */
export function showCounts(box, frame, hidden, onToggle) {
  if (frame === null || frame.model === null) {
    box.replaceChildren(el("p", { class: "quiet" }, "Nothing counted yet."));
    return;
  }
  const focused = document.activeElement?.closest("[data-label]")?.dataset.label;
  box.replaceChildren(
    el("p", { class: "total" }, el("b", { id: "total" }, count(frame.total)), " ", frame.live ? el("span", {}, "so far") : atEdge(frame.counts)),
    frame.live ? el("p", {}, atEdge(frame.counts)) : "",
    el(
      "dl",
      { class: "sums" },
      pair("Density", `${withError(density(frame), densityError(frame))} / nm²`, densityError(frame) === null ? {} : { class: "whole", title: "with its statistical error" }),
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

function atEdge(counts) {
  const [edge, front] = [sum(counts, "edge"), sum(counts, "cut_by_front")];
  const words = edge === 0 ? "none at the edge" : `${count(edge)} at the edge`;
  return el("span", { class: "quiet" }, front === 0 ? words : `${words}, ${count(front)} more under the front`);
}

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
      ...(each.total + (each.cut_by_front ?? 0) === 0 ? ["none in this frame"] : classWords(each)),
    ),
  );
}

function classWords(each) {
  const edge = `${count(each.edge)} at the edge`;
  if (each.cut_by_front === undefined) return [`${edge}, ${number(each.density_per_nm2)} / nm², ${percent(each.coverage)}`];
  const many = `${withError(each.density_per_nm2, each.density_error_per_nm2)} / nm², ${percent(each.coverage)}`;
  const front = each.cut_by_front ? `, ${count(each.cut_by_front)} under the front` : "";
  return [many, edge + front].map((words) => el("span", {}, words));
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
    frame.live
      ? pair("Begun", exact(frame.started ?? frame.begun))
      : pair("Taken", taken(frame), { title: `stored ${exact(frame.processed)}` }),
    pair("Size", `${length(width)} × ${length(height)}`),
    pair("Pixels", frame.partial ? `${frame.columns} × ${frame.rows}, ${frame.complete_rows} rows scanned` : `${frame.columns} × ${frame.rows}`),
    pair("Centre", `${frame.center_nm.map(place).join(", ")} nm`),
    frame.angle_deg ? pair("Angle", `${number(frame.angle_deg)}°`) : "",
    pair("Bias", si(frame.bias_v, "V")),
    pair("Set point", si(frame.setpoint, frame.setpoint_unit)),
    pair("Channel", `${frame.channel}${scan ? ` (${scan})` : ""}`),
    frame.live && frame.lines_missing ? pair("Lines lost", count(frame.lines_missing)) : "",
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
    molecule.cut_by_front ? el("p", { class: "tip-note" }, "The tip has not passed it: not counted yet") : "",
  ];
}
