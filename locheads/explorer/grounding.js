// Grounds an expression as locheads.method.grounding does, with the same rules for borders and ties.
// A map is an array of rows × columns numbers, row by row; boxes are xyxy, half-open, in pixels of the image.

export const KERNEL = 7; // width of the Gaussian in cells
const ROUNDING = 1e-9; // a cell has to exceed a threshold by more than rounding

/** Returns the weights of a Gaussian cut to `kernel` cells, of sum 1. */
function gaussian(kernel, sigma) {
  if (kernel === 1 || sigma === 0) return [1];
  const half = (kernel - 1) / 2;
  const weights = Array.from({ length: kernel }, (_, i) => Math.exp(-((i - half) ** 2) / (2 * sigma ** 2)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

/** Mirrors a position beyond the border into 0 … length - 1, without repeating the edge. */
function mirrored(position, length) {
  if (length === 1) return 0;
  const period = 2 * (length - 1);
  const place = ((position % period) + period) % period;
  return place < length ? place : period - place;
}

/** Weighs `length` values that lie `step` apart in `from`, starting at `start`, and writes them into `to`. */
function correlateLine(from, to, start, step, length, weights) {
  const half = (weights.length - 1) / 2;
  for (let i = 0; i < length; i++) {
    let sum = from[start + i * step] * weights[half];
    for (let d = half; d > 0; d--) {
      const before = from[start + mirrored(i - d, length) * step];
      sum += (before + from[start + mirrored(i + d, length) * step]) * weights[half - d];
    }
    to[start + i * step] = sum;
  }
}

/** Blurs a map with a Gaussian: along the rows, then along the columns. */
export function smooth(map, rows, columns, kernel, sigma) {
  const weights = gaussian(kernel, sigma);
  const across = new Float64Array(map.length);
  const both = new Float64Array(map.length);
  for (let row = 0; row < rows; row++) correlateLine(map, across, row * columns, 1, columns, weights);
  for (let column = 0; column < columns; column++) correlateLine(across, both, column, columns, rows, weights);
  return both;
}

/** Adds up the smoothed maps, cell by cell. */
export function combine(maps, rows, columns, kernel, sigma) {
  const sum = new Float64Array(rows * columns);
  for (const map of maps) smooth(map, rows, columns, kernel, sigma).forEach((value, cell) => (sum[cell] += value));
  return sum;
}

/** Marks the cells above `level` times the mean. */
export function pseudoMask(map, level) {
  const threshold = level * mean(map) * (1 + ROUNDING);
  return Array.from(map, (value) => value > threshold);
}

function mean(map) {
  let sum = 0;
  for (const value of map) sum += value;
  return sum / map.length;
}

/** Returns the 8-connected components as lists of cells, in the order met from the top left. */
export function components(mask, rows, columns) {
  const seen = new Array(mask.length).fill(false);
  const found = [];
  for (let first = 0; first < mask.length; first++) {
    if (!mask[first] || seen[first]) continue;
    const cells = [first];
    seen[first] = true;
    for (let next = 0; next < cells.length; next++) {
      for (const cell of neighbours(cells[next], rows, columns)) {
        if (!mask[cell] || seen[cell]) continue;
        seen[cell] = true;
        cells.push(cell);
      }
    }
    found.push(cells);
  }
  return found;
}

function neighbours(cell, rows, columns) {
  const [row, column] = [Math.floor(cell / columns), cell % columns];
  const around = [];
  for (let r = Math.max(0, row - 1); r <= Math.min(rows - 1, row + 1); r++) {
    for (let c = Math.max(0, column - 1); c <= Math.min(columns - 1, column + 1); c++) around.push(r * columns + c);
  }
  return around;
}

/** Returns the spatial entropy, in nats, of the cells above the mean; Infinity where there is none. */
export function spatialEntropy(map, rows, columns) {
  const sizes = components(pseudoMask(map, 1), rows, columns).map((cells) => cells.length);
  if (!sizes.length) return Infinity;
  const total = sizes.reduce((sum, size) => sum + size, 0);
  return 0 - sizes.reduce((sum, size) => sum + (size / total) * Math.log(size / total), 0);
}

/** Returns the convex hull of cells, spanned by their corners: points [x, y] in order around it. */
export function convexHull(cells, columns) {
  const points = cells.flatMap((cell) => {
    const [y, x] = [Math.floor(cell / columns), cell % columns];
    return [[x, y], [x + 1, y], [x, y + 1], [x + 1, y + 1]];
  });
  points.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  return [...chain(points), ...chain(points.reverse())];
}

/** Returns one side of the hull of sorted points, without its last point. */
function chain(points) {
  const side = [];
  for (const point of points) {
    while (side.length > 1 && cross(side.at(-2), side.at(-1), point) <= 0) side.pop();
    side.push(point);
  }
  return side.slice(0, -1);
}

const cross = (o, a, b) => (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);

function polygonArea(corners) {
  const twice = corners.reduce((sum, [x, y], i) => {
    const [nextX, nextY] = corners[(i + 1) % corners.length];
    return sum + x * nextY - y * nextX;
  }, 0);
  return Math.abs(twice) / 2;
}

/** Picks the component with the largest hull; equal ones by their weight, then the first. */
function largestComponent(found, weights, columns) {
  let best = null;
  for (const cells of found) {
    const area = polygonArea(convexHull(cells, columns));
    const weight = cells.reduce((sum, cell) => sum + weights[cell], 0);
    if (!best || area > best.area || (area === best.area && weight > best.weight)) best = { cells, area, weight };
  }
  return best.cells;
}

/** Grounds from the maps of the heads; `window` holds x0, y0, x1, y1, rows, columns and size, as in Python. */
export function ground(maps, window, { kernel = KERNEL, sigma = 1, level = 1 } = {}) {
  const { rows, columns } = window;
  const map = combine(maps, rows, columns, kernel, sigma);
  const mask = pseudoMask(map, level);
  const any = mask.some(Boolean);
  const region = any ? largestComponent(components(mask, rows, columns), map, columns) : [...map.keys()];
  const corners = convexHull(region, columns);
  const box = clippedBox(corners, window);
  const found = any && box[2] > box[0] && box[3] > box[1];
  const hull = corners.map((corner) => toPixels(corner, window));
  return { map, mask, region, hull, found, box: found ? box : [0, 0, ...window.size] };
}

/** Converts a point [x, y] in cells to pixels. */
export function toPixels([x, y], { x0, y0, x1, y1, rows, columns }) {
  return [x * ((x1 - x0) / columns) + x0, y * ((y1 - y0) / rows) + y0];
}

function clippedBox(corners, window) {
  const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
  const low = toPixels([Math.min(...xs), Math.min(...ys)], window);
  const high = toPixels([Math.max(...xs), Math.max(...ys)], window);
  return [...low, ...high].map((value, i) => Math.min(Math.max(value, 0), window.size[i % 2]));
}

/** Returns intersection over union of two boxes. */
export function boxIou(a, b) {
  const width = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0]));
  const height = Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  const union = area(a) + area(b) - width * height;
  return union > 0 ? (width * height) / union : 0;
}

/** Decodes the maps of all heads, in flat order, of one expression of `data.py`. */
export function decodeMaps(data, expression) {
  const cells = data.rows * data.columns;
  const exact = new Float32Array(bytesOf(expression.exact));
  const coarse = new Uint16Array(bytesOf(expression.coarse));
  const maps = [];
  data.exact.forEach((head, i) => (maps[head] = Float64Array.from(exact.subarray(i * cells, (i + 1) * cells))));
  let place = 0;
  for (let head = 0; head < data.layers * data.heads; head++) {
    if (maps[head]) continue;
    const scale = expression.scales[place];
    maps[head] = Float64Array.from(coarse.subarray(place * cells, (place + 1) * cells), (step) => step * scale);
    place += 1;
  }
  return maps;
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer;
}
