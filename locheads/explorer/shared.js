// What the parts of the explorer share: elements, names of heads, and the heads in use.

/** Makes an element; attributes that start with `on` are listeners. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Sets some of the model's settings. */
export function change(model, changes) {
  for (const [name, value] of Object.entries(changes)) model.set(name, value);
  model.save_changes();
}

export const nameOf = (data, head) => `L${Math.floor(head / data.heads)} H${head % data.heads}`;
export const pairOf = (data, head) => [Math.floor(head / data.heads), head % data.heads];

/** Returns the heads in use, as flat numbers: the own set, or the k most frequent. */
export function headsInUse({ model, data }) {
  const own = model.get("heads").map(([layer, head]) => layer * data.heads + head);
  return own.length ? own : data.ranking.slice(0, model.get("k"));
}
