// What is drawn over a picture beside the molecules: the front of a scan in progress, and where the tip changed.

const CASING = "rgba(0, 0, 0, 0.65)";
const FRONT = "#ffffff";
const CHANGE = "#ff9273";

/** Where a line ends and the next one begins, in frame rows; line: number of the next one, in the order of scanning. */
export function boundary(frame, line) {
  return frame.direction === "up" ? frame.rows - line - 0.5 : line - 0.5;
}

const toY = (frame, rect, row) => rect.top + ((row + 0.5) * rect.height) / frame.rows;

function across(context, rect, y, colour, thick, dash) {
  for (const [style, width, pattern] of [[CASING, thick + 2, []], [colour, thick, dash]]) {
    context.setLineDash(pattern);
    context.strokeStyle = style;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(rect.left, y);
    context.lineTo(rect.left + rect.width, y);
    context.stroke();
  }
  context.setLineDash([]);
}

function chip(context, text, { x, y, align, colour }) {
  const half = context.measureText(text).width / 2 + 7;
  const middle = align === "left" ? x + half : x - half;
  context.fillStyle = "rgba(15, 17, 19, 0.86)";
  context.beginPath();
  context.roundRect(middle - half, y - 10, 2 * half, 20, 4);
  context.fill();
  context.fillStyle = colour;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, middle, y + 0.5);
}

/** The line that the tip is at; its number stands on the side that is not scanned yet. */
export function drawFront(context, frame, rect, font) {
  if (frame.complete_rows <= 0 || frame.complete_rows >= frame.rows) return;
  const y = toY(frame, rect, boundary(frame, frame.complete_rows));
  across(context, rect, y, FRONT, 1.5, []);
  context.font = `500 12px ${font}`;
  const beside = y + (frame.direction === "up" ? -14 : 14);
  if (beside < rect.top + 10 || beside > rect.top + rect.height - 10) return;
  chip(context, `line ${frame.complete_rows}`, { x: rect.left + 8, y: beside, align: "left", colour: FRONT });
}

/** Lines at which the tip was not the same any more, each with a label; labels that would overlap move apart. */
export function drawTipChanges(context, frame, rect, changes, font) {
  context.font = `600 12px ${font}`;
  const taken = [];
  for (const change of changes) {
    const y = toY(frame, rect, boundary(frame, change.line));
    across(context, rect, y, CHANGE, 2, [10, 4, 2, 4]);
    let at = Math.min(rect.top + rect.height - 12, Math.max(rect.top + 12, y - 13));
    while (taken.some((other) => Math.abs(other - at) < 22) && at < rect.top + rect.height - 34) at += 22;
    taken.push(at);
    const text = `Tip change, line ${change.line}: ${change.kind}`;
    chip(context, text, { x: rect.left + rect.width - 8, y: at, align: "right", colour: CHANGE });
  }
}
