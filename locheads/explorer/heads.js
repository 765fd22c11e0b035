// The heads by layer: a grid in which the arrows move.

import { colourAt, scaleGradient } from "./drawing.js";
import { change, element, headsInUse, nameOf, pairOf } from "./shared.js";

const MEASURES = {
  frequency: { name: "Selection frequency", unit: "share of expressions in which the head is a candidate" },
  attention_sum: { name: "Attention sum", unit: "share of the attention that goes to the picture, mean" },
  iou: { name: "IoU", unit: "of the head’s pseudo-mask with the object, mean" },
};

/** Builds the grid with its choice of colours and legend. */
export function headMap(state) {
  const { data } = state;
  const cells = data.ranking.map((_, head) => headCell(state, head));
  const rows = Array.from({ length: data.layers }, (_, layer) =>
    element("div", { role: "row" }, element("span", { role: "rowheader" }, `L${layer}`),
      ...cells.slice(layer * data.heads, (layer + 1) * data.heads)));
  const grid = element("div", { role: "grid", "aria-label": "Heads by layer; arrows move, space uses a head",
    style: `--heads: ${data.heads}`, onkeydown: (event) => moved(state, cells, event) }, ...rows);
  const across = element("div", { class: "across", "aria-hidden": "true" }, "H0", element("span", {}, "heads"),
    `H${data.heads - 1}`);
  const [low, high, unit] = ["span", "span", "small"].map((tag) => element(tag));
  const legend = element("div", { class: "legend" }, low,
    element("span", { class: "bar", style: `background: ${scaleGradient}` }), high, unit);
  const reset = element("button", { type: "button", class: "reset",
    onclick: () => change(state.model, { heads: [] }) }, "Back to the most frequent heads");
  const marks = element("p", { class: "marks" }, element("b", {}, "1 2 3 "), "most frequent heads; ",
    element("i", {}), " heads in use");
  const heads = element("section", { class: "heads", "aria-label": "Heads" },
    element("h2", {}, "Heads by layer"), measures(state), grid, across, legend, marks, reset);
  return { heads, cells, low, high, unit, reset };
}

function headCell(state, head) {
  const { data } = state;
  const place = data.chosen.indexOf(head);
  return element("button", { type: "button", role: "gridcell", "data-head": head, tabindex: -1,
    onclick: () => focusOn(state, head) }, place < 0 ? "" : String(place + 1));
}

function measures(state) {
  const choices = Object.entries(MEASURES).map(([measure, { name }]) => {
    const use = () => ((state.measure = measure), state.redraw());
    const input = element("input", { type: "radio", name: "lh-measure", value: measure, onchange: use });
    input.checked = measure === state.measure;
    return element("label", {}, input, name);
  });
  return element("fieldset", {}, element("legend", {}, "Colour by"), ...choices);
}

function focusOn(state, head) {
  state.focus = head;
  state.redraw();
}

function moved(state, cells, event) {
  const { layers, heads } = state.data;
  const [layer, head] = pairOf(state.data, state.focus);
  const to = {
    ArrowLeft: [layer, Math.max(0, head - 1)],
    ArrowRight: [layer, Math.min(heads - 1, head + 1)],
    ArrowUp: [Math.max(0, layer - 1), head],
    ArrowDown: [Math.min(layers - 1, layer + 1), head],
    Home: [layer, 0],
    End: [layer, heads - 1],
  }[event.key];
  if (event.key === " ") toggle(state);
  else if (to) {
    focusOn(state, to[0] * heads + to[1]);
    cells[state.focus].focus();
  } else return;
  event.preventDefault();
}

/** Takes the head that is looked at into the own set, or out of it. */
export function toggle(state) {
  const used = headsInUse(state);
  const without = used.filter((head) => head !== state.focus);
  const own = without.length < used.length ? without : [...used, state.focus];
  if (own.length) change(state.model, { heads: own.map((head) => pairOf(state.data, head)) });
}

/** Colours the heads by the chosen measure, and marks the one looked at and those in use. */
export function showHeads(state, { cells, low, high, unit, reset }) {
  const { data, measure, focus, model } = state;
  const values = data[measure];
  const known = values.filter((value) => value !== null);
  const [least, most] = [Math.min(0, ...known), Math.max(...known, 1e-9)];
  const used = new Set(headsInUse(state));
  cells.forEach((cell, head) => {
    const share = ((values[head] ?? 0) - least) / (most - least);
    cell.style.background = values[head] === null ? "none" : colourAt(share);
    cell.style.color = values[head] === null ? "inherit" : share > 0.55 ? "#000" : "#fff";
    cell.tabIndex = head === focus ? 0 : -1;
    cell.classList.toggle("used", used.has(head));
    cell.setAttribute("aria-selected", head === focus);
    const text = `${nameOf(data, head)}, ${MEASURES[measure].name} ${values[head]?.toFixed(2) ?? "unknown"}`;
    cell.title = text;
    cell.setAttribute("aria-label", used.has(head) ? `${text}, in use` : text);
  });
  [low.textContent, high.textContent] = [least.toFixed(2), most.toFixed(2)];
  unit.textContent = MEASURES[measure].unit;
  reset.hidden = !model.get("heads").length;
}
