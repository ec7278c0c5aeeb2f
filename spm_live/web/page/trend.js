// Counts or densities of each class over the last frames, as lines.

import { classColour } from "./colours.js";
import { count, number, when } from "./format.js";
import { el, svg } from "./dom.js";

const FRAMES = 60;
const MARGIN = { left: 40, right: 8, top: 8, bottom: 20 };
const HEIGHT = 150;

const MEASURES = {
  total: { name: "Count", text: count },
  density_per_nm2: { name: "per nm²", text: (value) => number(value) },
};

export class Trend {
  /** list: a FrameList; onPick(id) when a point is chosen. */
  constructor({ box, list, onPick }) {
    Object.assign(this, { list, onPick });
    this.measure = "total";
    this.hidden = new Set();
    this.shown = null;
    this.chart = el("div", { class: "chart" });
    this.buttons = Object.entries(MEASURES).map(([key, { name }]) =>
      el("button", { type: "button", "aria-pressed": String(key === this.measure), click: () => this.choose(key) }, name),
    );
    box.append(el("div", { class: "choice", role: "group", "aria-label": "What the trend shows" }, ...this.buttons), this.chart);
    new ResizeObserver(() => this.draw()).observe(this.chart);
  }

  choose(measure) {
    this.measure = measure;
    Object.keys(MEASURES).forEach((key, at) => this.buttons[at].setAttribute("aria-pressed", String(key === measure)));
    this.draw();
  }

  update({ hidden, shown }) {
    this.hidden = hidden;
    this.shown = shown;
    this.draw();
  }

  draw() {
    const frames = this.list.all.slice(0, FRAMES).reverse();
    const width = this.chart.clientWidth;
    if (frames.length < 2 || width === 0) {
      this.chart.replaceChildren(el("p", { class: "quiet" }, frames.length ? "One frame so far." : "No frames yet."));
      return;
    }
    const labels = [...new Set(frames.flatMap((frame) => Object.keys(frame.counts)))].filter((each) => !this.hidden.has(each));
    const valueOf = (frame, label) => frame.counts[label]?.[this.measure] ?? null;
    const most = Math.max(0, ...frames.flatMap((frame) => labels.map((label) => valueOf(frame, label) ?? 0)));
    const top = nice(most, this.measure === "total");
    const plot = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
    const x = (at) => MARGIN.left + (at * plot.width) / (frames.length - 1);
    const y = (value) => MARGIN.top + plot.height * (1 - value / top);
    const said = `${MEASURES[this.measure].name} of each class in the last ${frames.length} frames, highest ${MEASURES[this.measure].text(most)}`;
    this.chart.replaceChildren(
      svg(
        "svg",
        { width, height: HEIGHT, role: "img", "aria-label": said },
        ...this.axes(frames, top, x, y, width),
        ...labels.flatMap((label) => line(frames, label, valueOf, x, y)),
        this.marker(frames, x, plot),
        ...frames.map((frame, at) => this.target(frame, at, x, plot, frames.length, labels, valueOf)),
      ),
    );
  }

  axes(frames, top, x, y, width) {
    const text = MEASURES[this.measure].text;
    const lines = [0, top / 2, top].flatMap((value) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick", x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, text(value)),
    ]);
    const last = frames.length - 1;
    return [
      ...lines,
      svg("text", { class: "tick", x: x(0), y: HEIGHT - 4 }, when(time(frames[0]))),
      svg("text", { class: "tick", x: x(last), y: HEIGHT - 4, "text-anchor": "end" }, when(time(frames[last]))),
    ];
  }

  marker(frames, x, plot) {
    const at = frames.findIndex((frame) => frame.id === this.shown);
    if (at < 0) return "";
    return svg("line", { class: "marker", x1: x(at), x2: x(at), y1: MARGIN.top, y2: MARGIN.top + plot.height });
  }

  target(frame, at, x, plot, total, labels, valueOf) {
    const half = plot.width / (total - 1) / 2;
    const values = labels.map((label) => `${label} ${MEASURES[this.measure].text(valueOf(frame, label))}`);
    return svg(
      "rect",
      { class: "target", x: x(at) - half, y: MARGIN.top, width: half * 2, height: plot.height, click: () => this.onPick(frame.id) },
      svg("title", {}, [frame.name, when(time(frame)), ...values].join("\n")),
    );
  }
}

const time = (frame) => frame.ended ?? frame.processed;

/** The next 1, 2 or 5 times a power of ten above a value, halvable without a fraction where people count. */
function nice(most, whole) {
  if (whole && most <= 2) return 2;
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((value) => value >= most);
}

/** A line with gaps where the class was not looked for, and a dot on every frame. */
function line(frames, label, valueOf, x, y) {
  let [path, pen] = ["", false];
  const dots = [];
  frames.forEach((frame, at) => {
    const value = valueOf(frame, label);
    if (value !== null) {
      path += `${pen ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
      const alone = [at - 1, at + 1].every((next) => !frames[next] || valueOf(frames[next], label) === null);
      if (frames.length <= 30 || alone) dots.push(svg("circle", { cx: x(at), cy: y(value), r: 2.2 }));
    }
    pen = value !== null;
  });
  const drawn = svg("g", { class: "series", "data-label": label }, svg("path", { d: path }), ...dots);
  drawn.style.color = classColour(label);
  return [drawn];
}
