// How good the lines at hand are: the verdict in a word, why, and the figures behind it.

import { length, number, percent, place } from "./format.js";
import { el } from "./dom.js";

// A sign beside the colour, for eyes that do not see the colour.
const VERDICTS = {
  good: ["Good", "✓"],
  doubtful: ["Doubtful", "?"],
  bad: ["Bad", "!"],
  unknown: ["Too few lines to say", "…"],
};

/** Fill the panel; quality: of the scan on the canvas, null where none is known; unit: of its channel. */
export function showQuality(section, box, quality, unit) {
  section.hidden = quality === null;
  if (quality === null) return;
  const [word, sign] = VERDICTS[quality.verdict] ?? [quality.verdict, "?"];
  box.replaceChildren(
    el("p", { class: "verdict", "data-verdict": quality.verdict }, el("i", { class: "sign", "aria-hidden": "true" }, sign), word),
    quality.reasons.length ? el("ul", { class: "reasons" }, ...quality.reasons.map((reason) => el("li", {}, reason))) : "",
    el("dl", { class: "measures" }, ...measures(quality, unit)),
  );
}

export const verdictWord = (quality) => VERDICTS[quality.verdict]?.[0].toLowerCase() ?? quality.verdict;

function measures(quality, unit) {
  const { double_tip_nm: shift } = quality;
  return [
    measure("Line to line", number(quality.line_correlation, 2), quality.line_correlation, "correlation of neighbouring lines, 1 is best"),
    measure("Forward/back", number(quality.trace_agreement, 2), quality.trace_agreement, "correlation of the two traces of a line, 1 is best"),
    measure("Streaks", percent(quality.streaks), quality.streaks, "part of the pixels in streaks along the lines, 0 is best"),
    measure("Drop-outs", percent(quality.dropouts), quality.dropouts, "part of the pixels without a value of their own, 0 is best"),
    measure("Double tip", number(quality.double_tip, 2), quality.double_tip, "how strongly a shifted copy lies in the picture, 0 is best"),
    measure("Noise", unit === "m" ? length(quality.noise_nm) : `${number(quality.noise_nm)} ${unit}`, null, "from pixel to pixel, one standard deviation"),
    shift ? measure("Copy shifted by", `${shift.map(place).join(", ")} nm`, null, "along x and y", "wide") : "",
    measure("Tip changes", changes(quality.tip_changes), null, "counted as scanned, the first line is 0", "wide"),
  ];
}

function measure(name, text, part, title, kind = "") {
  const bar = part === null || part === undefined ? "" : el("span", { class: "bar", "aria-hidden": "true" }, fill(part));
  return el("div", { class: kind, title }, el("dt", {}, name), el("dd", {}, text, bar));
}

function fill(part) {
  const node = el("i", {});
  node.style.width = `${Math.min(1, Math.max(0, part)) * 100}%`;
  return node;
}

const changes = (all) => (all.length ? all.map((each) => `line ${each.line} (${each.kind})`).join(", ") : "none");
