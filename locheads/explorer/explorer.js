// The explorer: controls, the heads by layer, and pictures that follow every change.
// Settings live in an anywidget model; `standalone` is one for a page without Python.

import { boxIou, components, decodeMaps, ground, KERNEL, pseudoMask, spatialEntropy } from "./grounding.js";
import { drawComponents, drawGrounding, drawMap } from "./drawing.js";
import { headMap, showHeads, toggle } from "./heads.js";
import { change, element, headsInUse, nameOf } from "./shared.js";

const SETTINGS = ["expression", "k", "heads", "sigma", "level"];
export default { render: ({ model, el }) => mount(model, el) };

/** Returns a model with an anywidget model's methods that keeps its settings to itself. */
export function standalone(data) {
  const values = { data, expression: 0, k: 3, heads: [], sigma: 1, level: 1, box: [] };
  const listeners = [];
  return {
    get: (name) => values[name],
    set: (name, value) => {
      values[name] = value;
      listeners.filter(([event]) => event === `change:${name}`).forEach(([, call]) => call());
    },
    on: (event, call) => listeners.push([event, call]),
    save_changes: () => {},
  };
}

/** Builds the explorer inside `root` and keeps it true to the model; returns what ends that. */
export function mount(model, root) {
  const data = model.get("data");
  const state = { model, data, measure: "frequency", focus: data.chosen[0], maps: new Map(), pictures: new Map() };
  state.redraw = () => redraw(state, parts);
  const parts = { ...choosing(state), ...headMap(state), ...figures(), ...footnote(data) };
  const { intro, choose, result, heads, single, average, note } = parts;
  root.replaceChildren(element("div", { class: "locheads" },
    element("div", { class: "layout" }, intro, choose, result, heads, single, average, note)));
  for (const name of SETTINGS) model.on(`change:${name}`, state.redraw);
  const resized = new ResizeObserver(state.redraw); // the first call draws
  resized.observe(root);
  return () => (resized.disconnect(), SETTINGS.forEach((name) => model.off(`change:${name}`, state.redraw)));
}

// The controls above: picture, expression, k, σ, level.

function choosing(state) {
  const { model, data } = state;
  const first = new Map();
  data.expressions.forEach((one, i) => first.has(one.image) || first.set(one.image, i));
  const thumbnails = [...first.values()].map((i, n) => thumbnail(state, i, n));
  const select = element("select", {
    id: "lh-expression",
    onchange: () => change(model, { expression: Number(select.value) }),
  });
  const most = Math.min(10, data.ranking.length);
  const sliders = {
    k: slider("Heads k", "most frequent", [1, most, 1], (value) => change(model, { k: value, heads: [] })),
    sigma: slider("Smoothing σ", "cells", [0, 3, 0.1], (value) => change(model, { sigma: value })),
    level: slider("Level", "× mean", [0.5, 3, 0.05], (value) => change(model, { level: value })),
  };
  const rows = Object.values(sliders).map(({ row }) => row);
  const intro = element("header", {},
    element("h1", {}, "Which heads find it?"),
    element("p", {}, `${data.layers * data.heads} attention heads of ${data.model}. `,
      "Their maps are smoothed, added up and cut at a level; the box around the largest region is the answer."));
  const choose = element("section", { class: "choose", "aria-label": "Picture, expression and settings" },
    element("div", { class: "thumbnails", role: "group", "aria-label": "Picture" }, ...thumbnails),
    element("label", { for: "lh-expression" }, "Expression"), select, ...rows);
  return { intro, choose, select, sliders, thumbnails };
}

function thumbnail({ model, data }, i, n) {
  const { picture, expression } = data.expressions[i];
  const image = element("img", { src: picture, alt: `The picture with “${expression}”` });
  const press = () => change(model, { expression: i });
  return element("button", { type: "button", "aria-label": `Picture ${n + 1}`, "data-image": data.expressions[i].image,
    onclick: press }, image);
}

function slider(name, unit, [min, max, step], use) {
  const value = element("output", {});
  const input = element("input", { type: "range", min, max, step, oninput: () => use(Number(input.value)) });
  const row = element("label", { class: "slider" },
    element("span", {}, name, element("small", {}, ` ${unit}`)), input, value);
  return { row, input, value };
}

function showChoices({ model, data }, { select, sliders, thumbnails }) {
  const one = data.expressions[model.get("expression")];
  const own = model.get("heads").length;
  thumbnails.forEach((button) => button.setAttribute("aria-pressed", button.dataset.image === one.image));
  const same = [...data.expressions.keys()].filter((i) => data.expressions[i].image === one.image);
  select.replaceChildren(...same.map((i) => element("option", { value: i }, data.expressions[i].expression)));
  select.value = model.get("expression");
  for (const [name, { input, value }] of Object.entries(sliders)) {
    input.value = model.get(name);
    value.textContent = name === "k" ? (own ? `own ${own}` : model.get(name)) : model.get(name).toFixed(2);
  }
}

// The pictures.

function figures() {
  const canvas = (text) => element("canvas", { role: "img", "aria-label": text });
  const [both, one, parts, all] = ["Sum of the maps", "Map of one head", "Its components", "Mean map"].map(canvas);
  const answer = element("p", { class: "answer", "aria-live": "polite" });
  const result = element("section", { class: "result", "aria-label": "Box" }, both, answer);
  const title = element("h2", {});
  const facts = element("p", { class: "facts", "aria-live": "polite" });
  const use = element("button", { type: "button", class: "use" });
  const pair = element("div", { class: "pair" },
    element("figure", {}, one, element("figcaption", {}, "Its map: bright is much attention")),
    element("figure", {}, parts, element("figcaption", {}, "Its components: cells above the mean")));
  const single = element("section", { class: "single", "aria-label": "One head" }, title, pair, facts, use);
  const average = element("section", { class: "average", "aria-label": "All heads" },
    element("h2", {}, "Average of all heads"),
    element("figure", {}, all, element("figcaption", {}, "Mean of the maps of all heads, chosen or not")));
  return { result, single, average, both, one, parts, all, answer, title, facts, use };
}

function footnote(data) {
  return { note: element("footer", {},
    `Frequency over ${data.chosen_in} expressions, means over ${data.samples} others. Gaussian of ${KERNEL} cells. `,
    `The maps of the ${data.exact.length} most frequent heads are stored as computed, the others in 65535 steps.`) };
}

/** Returns the decoded maps and the window of an expression. */
function mapsOf(state, i) {
  const { data, maps } = state;
  const one = data.expressions[i];
  if (!maps.has(i)) maps.set(i, decodeMaps(data, one));
  const [x0, y0, x1, y1] = one.window;
  return { maps: maps.get(i), window: { x0, y0, x1, y1, rows: data.rows, columns: data.columns, size: one.size } };
}

async function pictureOf({ pictures }, source) {
  if (!pictures.has(source)) {
    const image = Object.assign(new Image(), { src: source });
    pictures.set(source, image.decode().then(() => image));
  }
  return pictures.get(source);
}

async function redraw(state, parts) {
  const { model, data, focus } = state;
  const i = model.get("expression");
  const one = data.expressions[i];
  const { maps, window } = mapsOf(state, i);
  const used = headsInUse(state);
  const found = ground(used.map((head) => maps[head]), window, { sigma: model.get("sigma"), level: model.get("level") });
  showChoices(state, parts);
  showHeads(state, parts);
  showAnswer(state, parts, found, used);
  showHead(state, parts, maps[focus], one, used.includes(focus));
  if (String(model.get("box")) !== String(found.box)) change(model, { box: found.box });
  const picture = await pictureOf(state, one.picture);
  if (i !== model.get("expression") || focus !== state.focus) return; // a later call has drawn another one
  drawGrounding(parts.both, picture, window, found, one.box);
  drawMap(parts.one, picture, window, maps[focus]);
  const regions = components(pseudoMask(maps[focus], 1), window.rows, window.columns);
  drawComponents(parts.parts, picture, window, regions);
  drawMap(parts.all, picture, window, meanMap(maps));
}

function meanMap(maps) {
  return maps[0].map((_, cell) => maps.reduce((sum, map) => sum + map[cell], 0) / maps.length);
}

function showAnswer({ model, data }, { answer, both }, found, used) {
  const one = data.expressions[model.get("expression")];
  const names = used.map((head) => nameOf(data, head)).join(", ");
  const why = found.found ? "" : "; nothing stands out, so the box is the picture";
  answer.replaceChildren(element("strong", {}, `IoU ${boxIou(found.box, one.box).toFixed(2)}`), ` with ${names}${why}`,
    element("small", {}, ` found box ${found.box.map(Math.round).join(", ")} (x0, y0, x1, y1 in pixels)`));
  both.setAttribute("aria-label", `${one.expression}: ${answer.textContent}`);
}

function showHead(state, { title, facts, use }, map, one, inUse) {
  const { data, focus } = state;
  const entropy = spatialEntropy(map, data.rows, data.columns);
  const write = (value) => value?.toFixed(2) ?? "unknown";
  title.textContent = `Head ${nameOf(data, focus)}`;
  facts.replaceChildren(
    element("b", {}, `entropy ${Number.isFinite(entropy) ? entropy.toFixed(2) : "∞"} nats`),
    `, attention sum ${write(one.attention_sum[focus])}, IoU ${write(one.iou[focus])} here; `,
    `candidate in ${Math.round(100 * data.frequency[focus])} % of expressions`);
  use.textContent = inUse ? "Leave this head out" : "Use this head too";
  use.onclick = () => toggle(state);
}
