// Pixels, nanometres and the rectangle on the screen.
// As everywhere in spm-live, (0, 0) is the centre of the upper left pixel, and y in nm grows up.

/** The largest rectangle of the scan's true aspect that fits a box; in the box's units. */
export function fit(frame, width, height) {
  const [across, along] = frame.size_nm;
  const scale = Math.min(width / across, height / along);
  const size = { width: across * scale, height: along * scale };
  return { left: (width - size.width) / 2, top: (height - size.height) / 2, ...size };
}

/** Frame pixel to a point of the rectangle. */
export function toScreen(frame, rect, [x, y]) {
  return [
    rect.left + ((x + 0.5) * rect.width) / frame.columns,
    rect.top + ((y + 0.5) * rect.height) / frame.rows,
  ];
}

/** A point of the rectangle to frame pixels: the inverse of toScreen. */
export function toPixel(frame, rect, [x, y]) {
  return [
    ((x - rect.left) * frame.columns) / rect.width - 0.5,
    ((y - rect.top) * frame.rows) / rect.height - 0.5,
  ];
}

/** Frame pixel to scanner coordinates in nm; ScanGeometry.to_nm in JavaScript. */
export function toNm(frame, [x, y]) {
  const along = ((x + 0.5) / frame.columns - 0.5) * frame.size_nm[0];
  const across = (0.5 - (y + 0.5) / frame.rows) * frame.size_nm[1];
  const angle = (frame.angle_deg * Math.PI) / 180;
  return [
    frame.center_nm[0] + along * Math.cos(angle) + across * Math.sin(angle),
    frame.center_nm[1] - along * Math.sin(angle) + across * Math.cos(angle),
  ];
}

/** Scanner coordinates in nm to frame pixel: the inverse of toNm. */
export function toPx(frame, [x, y]) {
  const angle = (frame.angle_deg * Math.PI) / 180;
  const [dx, dy] = [x - frame.center_nm[0], y - frame.center_nm[1]];
  const along = dx * Math.cos(angle) - dy * Math.sin(angle);
  const across = dx * Math.sin(angle) + dy * Math.cos(angle);
  return [
    (along / frame.size_nm[0] + 0.5) * frame.columns - 0.5,
    (0.5 - across / frame.size_nm[1]) * frame.rows - 0.5,
  ];
}

/** Rows that were not scanned: they lie at the top of an up scan, at the bottom of a down scan. */
export function unscanned(frame) {
  const rows = frame.rows - frame.complete_rows;
  return { first: frame.direction === "up" ? 0 : frame.complete_rows, rows };
}

/** Length of a scale bar in nm: 1, 2 or 5 times a power of ten, at most 30 % of the width. */
export function barLength(widthNm) {
  const most = widthNm * 0.3;
  const power = 10 ** Math.floor(Math.log10(most));
  return power * (most >= 5 * power ? 5 : most >= 2 * power ? 2 : 1);
}

/** Whether a point lies in a polygon (even-odd rule). */
export function inside(polygon, [x, y]) {
  let within = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i];
    const [bx, by] = polygon[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
  }
  return within;
}

/** Index of the molecule under a frame pixel, the smallest where several overlap; -1 for none. */
export function moleculeAt(molecules, point, isVisible) {
  let best = -1;
  molecules.forEach((molecule, index) => {
    if (!isVisible(molecule) || !inside(molecule.outline_px, point)) return;
    if (best < 0 || molecule.area_nm2 < molecules[best].area_nm2) best = index;
  });
  return best;
}
