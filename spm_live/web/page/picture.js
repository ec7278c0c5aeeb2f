// The frame on the canvas: the levelled picture below; hatching, outlines, marks and the scale bar above it.

import { previewAddress } from "./api.js";
import { drawMovement } from "./arrows.js";
import { classColour, heated } from "./colours.js";
import { length } from "./format.js";
import { barLength, fit, moleculeAt, toNm, toPixel, toScreen, unscanned } from "./geometry.js";
import { drawFront, drawTipChanges } from "./marks.js";

const HATCH = { ground: "#1d2124", line: "#3b4247", ink: "#c3c9ce" };
const AHEAD = { ground: "#15181a", line: "#1f2427", ink: "#8f979d" }; // calmer: it is only not scanned yet
const CASING = "rgba(0, 0, 0, 0.6)";

export class Picture {
  /**
   * below, above: the two canvases; box: what they fill.
   * onPoint({molecule, index, nm, screen}) follows the pointer; null when it leaves.
   */
  constructor({ below, above, box, onPoint }) {
    Object.assign(this, { below, above, box, onPoint });
    this.frame = null;
    this.image = null;
    this.wanted = null;
    this.marked = -1;
    this.pointer = null; // the last event over the picture: what lies below it changes while a scan grows
    this.options = { outlines: true, heat: false, hidden: new Set(), movement: null };
    new ResizeObserver(() => this.resize()).observe(box);
    above.addEventListener("pointermove", (event) => this.point(event));
    above.addEventListener("pointerdown", (event) => this.point(event));
    above.addEventListener("pointerleave", () => this.leave());
  }

  /**
   * Show a frame, with its picture from an address (null: there is none); the one before stays until the picture of
   * the new one is there. Resolves to whether it is shown.
   */
  async show(frame, address = frame && previewAddress(frame)) {
    this.wanted = frame;
    let image = null;
    if (address !== null) {
      image = new Image();
      image.fetchPriority = "high";
      image.src = address;
      try {
        await image.decode();
      } catch {
        // Outlines and numbers are still true without the picture; of a scan that grows, the one before is nearly so.
        image = frame.live && this.frame?.key === frame.key ? this.image : null;
      }
    }
    if (this.wanted !== frame) return false;
    this.frame = frame;
    this.image = image;
    this.coloured = null;
    this.marked = -1;
    this.resize();
    if (frame?.live && this.pointer !== null) this.point(this.pointer);
    return true;
  }

  set(options) {
    Object.assign(this.options, options);
    this.draw();
  }

  /** Mark a molecule by its index; -1 for none. */
  mark(index) {
    this.marked = index;
    this.drawAbove();
  }

  isVisible(molecule) {
    return this.options.outlines && !this.options.hidden.has(molecule.label);
  }

  /** Where a molecule lies in the box, in CSS pixels. */
  centreOf(molecule) {
    const [x1, y1, x2, y2] = molecule.box_px;
    return toScreen(this.frame, this.rect, [(x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5]);
  }

  resize() {
    const { clientWidth, clientHeight } = this.box;
    this.density = Math.max(1, devicePixelRatio || 1);
    for (const canvas of [this.below, this.above]) {
      canvas.width = Math.round(clientWidth * this.density);
      canvas.height = Math.round(clientHeight * this.density);
    }
    if (this.frame !== null && clientWidth > 0 && clientHeight > 0) this.rect = fit(this.frame, clientWidth, clientHeight);
    this.draw();
  }

  context(canvas) {
    const context = canvas.getContext("2d", { willReadFrequently: false });
    context.setTransform(this.density, 0, 0, this.density, 0, 0);
    context.clearRect(0, 0, this.box.clientWidth, this.box.clientHeight);
    return context;
  }

  draw() {
    this.drawBelow();
    this.drawAbove();
  }

  drawBelow() {
    const context = this.context(this.below);
    if (this.frame === null || !this.rect) {
      delete this.below.dataset.frame;
      return;
    }
    const { left, top, width, height } = this.rect;
    const look = this.frame.live && this.frame.state === "scanning" ? AHEAD : HATCH;
    this.hatch(context, look);
    if (this.image === null) this.blank(context);
    else {
      if (this.options.heat) this.coloured ??= heated(this.image);
      // A few large pixels are shown as what they are; many small ones are averaged.
      context.imageSmoothingEnabled = width / this.frame.columns < 4;
      context.imageSmoothingQuality = "high";
      context.drawImage(this.options.heat ? this.coloured : this.image, left, top, width, height);
    }
    this.nameUnscanned(context, look);
    this.below.dataset.frame = this.frame.id ?? "";
  }

  /** Hatch the whole frame: it shows through where pixels were not scanned, which are transparent in the picture. */
  hatch(context, look) {
    const { left, top, width, height } = this.rect;
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.fillStyle = look.ground;
    context.fillRect(left, top, width, height);
    context.strokeStyle = look.line;
    context.lineWidth = 1.5;
    context.beginPath();
    for (let x = left - height; x < left + width; x += 11) {
      context.moveTo(x, top + height);
      context.lineTo(x + height, top);
    }
    context.stroke();
    context.restore();
  }

  /** Stand in for a picture that could not be loaded: black where there were scanned rows. */
  blank(context) {
    const { first, rows } = unscanned(this.frame);
    const start = first === 0 ? rows : 0;
    const [left, top] = toScreen(this.frame, this.rect, [-0.5, start - 0.5]);
    context.fillStyle = "#000";
    context.fillRect(left, top, this.rect.width, ((this.frame.rows - rows) * this.rect.height) / this.frame.rows);
  }

  /** Say in words what the hatching means. */
  nameUnscanned(context, look) {
    const words = look === AHEAD ? "not scanned yet" : "not scanned";
    const { first, rows } = unscanned(this.frame);
    const [x, y] = toScreen(this.frame, this.rect, [(this.frame.columns - 1) / 2, first + (rows - 1) / 2]);
    if ((rows * this.rect.height) / this.frame.rows < 34) return;
    context.font = `500 14px ${this.font()}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    const half = context.measureText(words).width / 2 + 10;
    context.fillStyle = look.ground;
    context.fillRect(x - half, y - 13, 2 * half, 26);
    context.fillStyle = look.ink;
    context.fillText(words, x, y);
  }

  drawAbove() {
    const context = this.context(this.above);
    if (this.frame === null || !this.rect) {
      delete this.above.dataset.frame;
      delete this.above.dataset.live;
      return;
    }
    context.save();
    context.beginPath();
    context.rect(this.rect.left, this.rect.top, this.rect.width, this.rect.height);
    context.clip();
    this.frame.molecules.forEach((molecule, index) => {
      if (index !== this.marked && this.isVisible(molecule)) this.outline(context, molecule, false);
    });
    const marked = this.frame.molecules[this.marked];
    if (marked) this.outline(context, marked, true);
    this.marks(context);
    context.restore();
    this.scaleBar(context);
    this.above.dataset.frame = this.frame.id ?? "";
    this.above.dataset.live = this.frame.live ? `${this.frame.key} ${this.frame.revision}` : "";
  }

  marks(context) {
    const { frame, rect } = this;
    const { movement } = this.options;
    if (movement !== null && movement.links.frame === frame.id) drawMovement(context, frame, rect, movement);
    drawTipChanges(context, frame, rect, frame.quality?.tip_changes ?? [], this.font());
    if (frame.live) drawFront(context, frame, rect, this.font());
  }

  outline(context, molecule, marked) {
    const [x1, , x2] = molecule.box_px;
    const across = ((x2 - x1) * this.rect.width) / this.frame.columns;
    const settled = !this.frame.live || molecule.settled;
    const thick = (across < 16 ? 1.3 : 2.4) * (marked ? 1.5 : settled ? 1 : 0.6);
    context.beginPath();
    molecule.outline_px.forEach((point, at) => {
      const [x, y] = toScreen(this.frame, this.rect, point);
      if (at === 0) context.moveTo(x, y);
      else context.lineTo(x, y);
    });
    context.closePath();
    context.lineJoin = "round";
    const colour = classColour(molecule.label);
    if (marked) {
      context.fillStyle = `${colour}40`;
      context.fill();
    }
    context.setLineDash([]);
    context.strokeStyle = CASING;
    context.lineWidth = thick + 2;
    context.stroke();
    context.setLineDash(dashes(molecule, thick));
    context.lineCap = molecule.cut_by_front ? "round" : "butt";
    context.strokeStyle = colour;
    context.lineWidth = thick;
    context.stroke();
    context.setLineDash([]);
    context.lineCap = "butt";
  }

  scaleBar(context) {
    const { left, top, width, height } = this.rect;
    const nm = barLength(this.frame.size_nm[0]);
    const long = (nm / this.frame.size_nm[0]) * width;
    const size = Math.round(Math.min(20, Math.max(12, width / 42)));
    const [padding, thick] = [size * 0.6, Math.max(3, size / 4)];
    const label = length(nm);
    context.font = `600 ${size}px ${this.font()}`;
    const wide = Math.max(long, context.measureText(label).width) + 2 * padding;
    const high = size + thick + 2.4 * padding;
    const [x, y] = [left + padding, top + height - padding - high];
    context.fillStyle = "rgba(0, 0, 0, 0.62)";
    context.beginPath();
    context.roundRect(x, y, wide, high, 5);
    context.fill();
    context.fillStyle = "#fff";
    context.textAlign = "center";
    context.textBaseline = "top";
    context.fillText(label, x + wide / 2, y + padding * 0.9);
    context.fillRect(x + (wide - long) / 2, y + high - padding - thick, long, thick);
  }

  font() {
    return getComputedStyle(this.box).fontFamily;
  }

  point(event) {
    if (this.frame === null || !this.rect) return;
    this.pointer = event;
    const edge = this.above.getBoundingClientRect();
    const screen = [event.clientX - edge.left, event.clientY - edge.top];
    const pixel = toPixel(this.frame, this.rect, screen);
    const over =
      pixel[0] >= -0.5 && pixel[0] <= this.frame.columns - 0.5 && pixel[1] >= -0.5 && pixel[1] <= this.frame.rows - 0.5;
    if (!over) {
      this.leave();
      return;
    }
    const index = moleculeAt(this.frame.molecules, pixel, (molecule) => this.isVisible(molecule));
    if (index !== this.marked) this.mark(index);
    this.onPoint({ molecule: this.frame.molecules[index] ?? null, nm: toNm(this.frame, pixel), screen });
  }

  leave() {
    this.pointer = null;
    if (this.marked >= 0) this.mark(-1);
    this.onPoint(null);
  }
}

/** Cut by the front: dots. Cut by the edge of the scan: dashes. */
function dashes(molecule, thick) {
  if (molecule.cut_by_front) return [0.01, thick * 2];
  return molecule.touches_edge ? [thick * 2.2, thick * 2] : [];
}
