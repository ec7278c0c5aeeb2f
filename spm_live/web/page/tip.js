// One molecule: what it is, beside the pointer or chosen by keyboard.

import { moleculeFacts } from "./counts.js";
import { byId } from "./dom.js";
import { place } from "./format.js";

/** Follow the pointer: its place in nm, and the molecule below it. */
export function showPoint(point) {
  byId("cursor").textContent = point ? `x ${place(point.nm[0])}, y ${place(point.nm[1])} nm` : "";
  showTip(point?.molecule ?? null, point?.screen);
}

export function showTip(molecule, screen) {
  const tip = byId("tip");
  tip.hidden = molecule === null;
  if (molecule === null) return;
  tip.replaceChildren(...moleculeFacts(molecule));
  const box = byId("canvas-box");
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  const left = screen[0] + 18 + width > box.clientWidth ? screen[0] - 18 - width : screen[0] + 18;
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${Math.max(0, Math.min(screen[1] + 14, box.clientHeight - height))}px`;
}

/** Go through the molecules of a frame by keyboard, in falling score. */
export function stepMolecule(picture, molecules, by) {
  const visible = [...molecules.keys()].filter((index) => picture.isVisible(molecules[index]));
  if (visible.length === 0) return;
  const at = visible.indexOf(picture.marked);
  const next = visible[at < 0 ? (by > 0 ? 0 : visible.length - 1) : (at + by + visible.length) % visible.length];
  picture.mark(next);
  showTip(molecules[next], picture.centreOf(molecules[next]));
  byId("said").textContent = byId("tip").innerText.replaceAll("\n", ", ");
}
