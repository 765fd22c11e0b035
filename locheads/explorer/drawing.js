// Draws maps, components and boxes over a picture, and gives the colours.

import { toPixels } from "./grounding.js";

const CIVIDIS = ["#00224e", "#1a386f", "#434e6c", "#61656f", "#7d7c78", "#9b9476", "#bcae6c", "#dec958", "#fee838"];
const FOUND = "#de8f05";
const TRUE = "#0173b2";
const COMPONENTS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999"];
const WIDTH = 720; // of a drawing, in its own pixels; on the screen it is about half as wide
const VEIL = [12, 16, 40];

/** Returns the colour at `share`, in [0, 1], of a scale that the colour-blind read as others do. */
export function colourAt(share) {
  const place = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1);
  const low = Math.min(Math.floor(place), CIVIDIS.length - 2);
  const [from, to] = [rgb(CIVIDIS[low]), rgb(CIVIDIS[low + 1])];
  return `rgb(${from.map((value, i) => Math.round(value + (to[i] - value) * (place - low))).join(" ")})`;
}

export const scaleGradient = `linear-gradient(to right, ${CIVIDIS.join(", ")})`;

const rgb = (hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));

/** Draws a picture; returns the context, its pixels per pixel of the image (scale) and of the screen (unit). */
function begin(canvas, picture, size) {
  canvas.width = WIDTH;
  canvas.height = Math.round((WIDTH * size[1]) / size[0]);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const unit = WIDTH / (canvas.clientWidth || WIDTH / 2);
  return { context, scale: WIDTH / size[0], unit, labels: [] };
}

/** Colours the cells with what `colour` gives for each: [red, green, blue, opacity in 0 … 255]. */
function paintCells({ context, scale }, window, colour, blurred) {
  const grid = new OffscreenCanvas(window.columns, window.rows);
  const image = new ImageData(window.columns, window.rows);
  for (let cell = 0; cell < window.rows * window.columns; cell++) image.data.set(colour(cell), 4 * cell);
  grid.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = blurred;
  const [x, y] = [window.x0 * scale, window.y0 * scale];
  context.drawImage(grid, x, y, (window.x1 - window.x0) * scale, (window.y1 - window.y0) * scale);
}

/** Darkens the picture where the map is low; full light from its 98th percentile on. */
function paintMap(drawing, map, window) {
  const sorted = Float64Array.from(map).sort();
  const high = sorted[Math.floor(0.98 * (sorted.length - 1))] || sorted.at(-1) || 1;
  const light = (cell) => Math.min(1, map[cell] / high);
  paintCells(drawing, window, (cell) => [...VEIL, Math.round(215 * (1 - light(cell)))], true);
}

function outline({ context, scale, unit }, points, colour, width, dashes = []) {
  context.beginPath();
  points.forEach(([x, y]) => context.lineTo(x * scale, y * scale));
  context.closePath();
  context.lineJoin = "round";
  for (const [style, extra, dash] of [["#ffffffb0", 2, []], [colour, 0, dashes]]) {
    context.setLineDash(dash.map((length) => length * unit));
    context.strokeStyle = style;
    context.lineWidth = (width + extra) * unit;
    context.stroke();
  }
  context.setLineDash([]);
}

function frame(drawing, [x0, y0, x1, y1], colour, dashes) {
  outline(drawing, [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], colour, 3, dashes);
}

/** Writes a label beside a box, at the first place where it is inside the drawing and covers no other label. */
function label(drawing, text, box, colour, ink) {
  const { context, scale, unit, labels } = drawing;
  context.font = `600 ${13 * unit}px system-ui, sans-serif`;
  const [width, height] = [context.measureText(text).width + 12 * unit, 19 * unit];
  const [x0, y0, x1, y1] = box.map((value) => value * scale);
  const left = Math.min(Math.max(x0, 0), context.canvas.width - width);
  const right = Math.max(0, x1 - width);
  const [above, below] = [y0 - height - 4, y1 + 4];
  const inside = [[left, y0 + 4], [left, y1 - height - 4], [right, y0 + 4]];
  const places = [[left, above], [left, below], [right, above], [right, below], ...inside];
  const free = ([x, y]) =>
    y >= 0 && y + height <= context.canvas.height &&
    labels.every(([a, b, w]) => x + width <= a || a + w <= x || y + height <= b || b + height <= y);
  const [x, y] = places.find(free) ?? [0, 0];
  labels.push([x, y, width]);
  context.fillStyle = colour;
  context.fillRect(x, y, width, height);
  context.fillStyle = ink;
  context.textBaseline = "middle";
  context.fillText(text, x + 6 * unit, y + height / 2 + unit / 2);
}

/** Draws the summed map, the hull, the box that was found and the true box. */
export function drawGrounding(canvas, picture, window, result, truth) {
  const drawing = begin(canvas, picture, window.size);
  paintMap(drawing, result.map, window);
  if (result.found) outline(drawing, result.hull, "#ffffff", 1);
  frame(drawing, truth, TRUE, [9, 5]);
  frame(drawing, result.box, FOUND);
  label(drawing, result.found ? "found" : "nothing found", result.box, FOUND, "#000000");
  label(drawing, "true", truth, TRUE, "#ffffff");
}

/** Draws one map over the picture. */
export function drawMap(canvas, picture, window, map) {
  paintMap(begin(canvas, picture, window.size), map, window);
}

/** Colours a map's components, largest first, and writes the share of the area on those that have room. */
export function drawComponents(canvas, picture, window, found) {
  const drawing = begin(canvas, picture, window.size);
  const bySize = [...found].sort((a, b) => b.length - a.length);
  const total = found.reduce((sum, cells) => sum + cells.length, 0);
  const colours = new Map(bySize.flatMap((cells, i) => cells.map((cell) => [cell, componentColour(i)])));
  const colour = (cell) => (colours.has(cell) ? [...rgb(colours.get(cell)), 190] : [...VEIL, 120]);
  paintCells(drawing, window, colour, false);
  bySize.slice(0, 4).forEach((cells, i) => {
    const middle = cells[Math.floor(cells.length / 2)];
    const [x, y] = toPixels([(middle % window.columns) + 0.5, Math.floor(middle / window.columns) + 0.5], window);
    label(drawing, `${Math.round((100 * cells.length) / total)} %`, [x, y, x, y], "#ffffffe0", "#000000");
  });
}

const componentColour = (i) => COMPONENTS[Math.min(i, COMPONENTS.length - 1)];
