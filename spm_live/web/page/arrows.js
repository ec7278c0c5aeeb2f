// Drawn over a picture: what became of the molecules since the frame before of the same place.

import { toPx, toScreen } from "./geometry.js";

const INK = "#ffffff";
const CASING = "rgba(0, 0, 0, 0.75)";

/** Arrows from the old place to the new one, drift taken off; rings where a molecule appeared, crosses where one vanished. */
export function drawMovement(context, frame, rect, { links, before }) {
  const at = (nm) => toScreen(frame, rect, toPx(frame, nm));
  const size = Math.max(7, Math.min(12, rect.width / 60));
  context.lineCap = "round";
  for (const link of links.links) {
    const molecule = frame.molecules[link.molecule];
    const place = molecule ? at(molecule.center_nm) : null;
    if (link.kind === "moved" && place && link.moved_nm) {
      const [x, y] = molecule.center_nm;
      stroke(context, () => arrow(context, at([x - link.moved_nm[0], y - link.moved_nm[1]]), place, size * 0.7));
    } else if (link.kind === "turned" && place) {
      stroke(context, () => turn(context, frame, molecule, link.turned_deg ?? 0, at));
    } else if (link.kind === "appeared" && place) {
      stroke(context, () => context.ellipse(...place, size, size, 0, 0, 2 * Math.PI));
    } else if (link.kind === "vanished" && before.molecules[link.before]) {
      const old = drifted(frame, before.molecules[link.before].center_nm, links);
      stroke(context, () => cross(context, at(old), size * 0.75));
    }
  }
  context.lineCap = "butt";
}

/** Where a place of the frame before lies in this one. */
function drifted(frame, [x, y], links) {
  if (links.drift_nm === null) return [x, y];
  const angle = (frame.angle_deg * Math.PI) / 180;
  const up = (x - frame.center_nm[0]) * Math.sin(angle) + (y - frame.center_nm[1]) * Math.cos(angle);
  const [slopeX, slopeY] = links.slope ?? [0, 0];
  return [x + links.drift_nm[0] + up * slopeX, y + links.drift_nm[1] + up * slopeY];
}

function stroke(context, path) {
  for (const [colour, width] of [[CASING, 4.5], [INK, 2]]) {
    context.beginPath();
    path();
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
  }
}

function arrow(context, [x1, y1], [x2, y2], head) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  for (const side of [-0.5, 0.5]) {
    context.moveTo(x2, y2);
    context.lineTo(x2 - head * Math.cos(angle + side), y2 - head * Math.sin(angle + side));
  }
}

/** The long axis as it is, and a fan to where it was. */
function turn(context, frame, molecule, turned, at) {
  const [x, y] = molecule.center_nm;
  const end = (degrees, part) => {
    const angle = (degrees * Math.PI) / 180;
    return at([x + (part * molecule.length_nm * Math.cos(angle)) / 2, y + (part * molecule.length_nm * Math.sin(angle)) / 2]);
  };
  const now = molecule.orientation_deg;
  context.moveTo(...at([x, y]));
  context.lineTo(...end(now - turned, 1));
  for (let step = 1; step <= 12; step++) context.lineTo(...end(now - turned + (turned * step) / 12, 1));
  context.lineTo(...at([x, y]));
}

function cross(context, [x, y], half) {
  context.moveTo(x - half, y - half);
  context.lineTo(x + half, y + half);
  context.moveTo(x - half, y + half);
  context.lineTo(x + half, y - half);
}
