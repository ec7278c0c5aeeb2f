// What the lines over the picture mean; only those that are there now.

import { el, svg } from "./dom.js";

const LIVE = [
  ["solid", "settled"],
  ["thin", "may still change"],
  ["dots", "cut by the front"],
  ["dashes", "cut by the edge"],
];
const MOVEMENT = [
  ["arrow", "moved"],
  ["fan", "turned"],
  ["circle", "appeared"],
  ["cross", "vanished"],
];

const SHAPES = {
  solid: "M1 7H25",
  thin: "M1 7H25",
  dots: "M2 7H25",
  dashes: "M1 7H25",
  arrow: "M2 7H24M18 3L24 7L18 11",
  fan: "M4 12L22 11A18 18 0 0 0 17 2Z",
  circle: "M8 7a5 5 0 1 0 10 0a5 5 0 1 0 -10 0",
  cross: "M8 2L18 12M18 2L8 12",
};

/** Fill the line; frame: on the canvas; movement: whether that is drawn. Returns whether there is anything to explain. */
export function showLegend(box, frame, movement) {
  const entries = movement ? MOVEMENT : frame?.live ? LIVE : [];
  box.hidden = entries.length === 0;
  const text = entries.map(([name]) => name).join();
  if (box.dataset.text === text) return;
  box.dataset.text = text;
  box.replaceChildren(...entries.map(([name, words]) => el("li", {}, sample(name), words)));
}

function sample(name) {
  return svg(
    "svg",
    { class: `sample ${name}`, viewBox: "0 0 26 14", width: 26, height: 14, "aria-hidden": "true" },
    svg("path", { d: SHAPES[name] }),
  );
}
