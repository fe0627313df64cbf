// Nodes, and the words and numbers in them. Everything from the kernel is inserted as text, by these functions.

export function createNode(tag, className = "", attributes = {}, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else node.setAttribute(name, value);
  }
  node.append(...children); // strings become text
  return node;
}

const shownText = new WeakMap();

/** Show a text in a node that has no other children. What was shown is remembered: reading it back costs layout. */
export function setText(node, text) {
  if (shownText.get(node) === text) return;
  shownText.set(node, text);
  // The text of a node that stays is the cheapest change there is, and keeps a selection.
  if (node.firstChild) node.firstChild.data = text;
  else node.append(text);
}

export function setData(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

export function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

/** A name by which a screen reader and a voice know a button: it contains what stands on it. */
export function nameOf(label, help) {
  const isContained = !/\w/.test(label) || help.toLowerCase().includes(label.toLowerCase());
  return isContained ? help : `${label}: ${help}`;
}

export function button(label, help, onclick, className = "") {
  return createNode("button", `wpc-button ${className}`, { type: "button", "aria-label": nameOf(label, help), title: help, onclick }, label);
}

/** A decoration that says nothing by itself. */
export function mark(className) {
  return createNode("i", className, { "aria-hidden": "true" });
}

export function unseen(text) {
  return createNode("span", "wpc-visually-hidden", {}, text);
}

// -- numbers and times ----------------------------------------------------------------------------------

const decimal = new Intl.NumberFormat("en");
export const count = (number) => decimal.format(number);

export const seconds = () => Date.now() / 1000;

/** How long something has gone on, as it is read while it goes on. */
export function elapsed(s) {
  if (s < 9.95) return `${Math.max(s, 0).toFixed(1)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  const minutes = Math.floor(Math.round(s) / 60);
  const two = (n) => String(n).padStart(2, "0");
  if (minutes < 60) return `${minutes} min ${two(Math.round(s) % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

/** How long something has taken, with three digits. */
export function duration(s) {
  if (s === null || s === undefined) return "";
  if (s >= 9.95) return elapsed(s);
  for (const [factor, unit] of [[1, "s"], [1e3, "ms"]]) {
    if (s * factor >= 0.9995) return `${Number((s * factor).toPrecision(3))} ${unit}`;
  }
  return `${Number((s * 1e6).toPrecision(3))} µs`;
}

/** A size, as the kernel's tables have it. */
export function bytes(n) {
  if (n === null || n === undefined) return "";
  let unit = "B";
  for (const next of ["kB", "MB", "GB", "TB"]) {
    if (n < 999.5) break;
    n /= 1024;
    unit = next;
  }
  return `${Number(n.toPrecision(3))} ${unit}`;
}

/** The memory of a process, as in the table of workers. */
export function memory(n) {
  const megabytes = n / 2 ** 20;
  return megabytes < 999.5 ? `${Math.round(megabytes)} MB` : `${(megabytes / 1024).toFixed(1)} GB`;
}

export function timeOfDay(timestamp) {
  const at = new Date(timestamp);
  return Number.isNaN(at.getTime()) ? String(timestamp) : at.toLocaleTimeString("en-GB");
}
