// Colours of the classes and of the heat map.

// Okabe and Ito's set for all kinds of colour vision (jfly.uni-koeln.de/color), in the order that keeps neighbours
// furthest apart on grey; its black is left out.
const PALETTE = ["#56b4e9", "#e69f00", "#cc79a7", "#f0e442", "#009e73", "#d55e00", "#6f8fff"];

const order = new Map();

/** The colour of a class, in the order in which they are first asked for; the same for as long as the page is open. */
export function classColour(label) {
  if (!order.has(label)) order.set(label, order.size);
  return PALETTE[order.get(label) % PALETTE.length];
}

// Black, red, orange, yellow, white with steadily rising lightness, so that height still reads as lightness.
const HEAT = [
  [0, 0, 0, 0],
  [0.2, 70, 10, 8],
  [0.42, 158, 38, 10],
  [0.62, 222, 98, 14],
  [0.82, 250, 184, 58],
  [1, 255, 255, 236],
];

function heatTable() {
  const table = new Uint8ClampedArray(256 * 3);
  for (let grey = 0; grey < 256; grey++) {
    const at = grey / 255;
    const upper = Math.max(1, HEAT.findIndex(([stop]) => stop >= at));
    const [low, high] = [HEAT[upper - 1], HEAT[upper]];
    const part = (at - low[0]) / (high[0] - low[0]);
    for (let band = 0; band < 3; band++) {
      table[grey * 3 + band] = low[band + 1] + part * (high[band + 1] - low[band + 1]);
    }
  }
  return table;
}

const table = heatTable();

/** A copy of a grey picture in heat colours. */
export function heated(image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    const grey = pixels.data[at] * 3;
    pixels.data[at] = table[grey];
    pixels.data[at + 1] = table[grey + 1];
    pixels.data[at + 2] = table[grey + 2];
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
