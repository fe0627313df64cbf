// What the pool has registered: asked for when it is looked at, again when a definition has changed, and every few
// seconds, since a variable of the notebook may have another value than the constant of its name by then.

import { bytes, createNode, mark, setHidden, setText } from "./dom.js";

const PERIOD_S = 5;

const COLUMNS = [
  ["kind", "Kind"],
  ["name", "Name"],
  ["what", "What it is"],
  ["needs", "Needs"],
  ["size", "Size"],
  ["workers", "Held by workers"],
];
const NUMBERS = new Set(["size"]);
const className = (name) => `wpc-r-${name}${NUMBERS.has(name) ? " number" : ""}`;

/** Return numbers in order as text: "1–4, 6". */
function ranges(numbers) {
  const found = [];
  for (const number of numbers) {
    if (found.length && found.at(-1)[1] === number - 1) found.at(-1)[1] = number;
    else found.push([number, number]);
  }
  return found.map(([first, last]) => (first === last ? first : `${first}–${last}`)).join(", ");
}

function line(row) {
  const shown = { ...row, needs: row.needs.join(", "), size: bytes(row.nbytes), workers: ranges(row.holders) || "none" };
  const node = createNode("tr", "", { role: "row", "data-broken": String(row.broken !== "") },
    ...COLUMNS.map(([name]) => createNode("td", className(name), { role: "cell", title: shown[name] }, shown[name])));
  if (row.broken) node.lastChild.replaceChildren(createNode("span", "wpc-broken", { title: row.broken }, `broken: ${row.broken}`));
  if (row.stale) {
    node.children[2].append(" ", createNode("span", "wpc-stale", {}, mark("wpc-dot"), "stale: the notebook has another value"));
  }
  return node;
}

export class Registry {
  constructor(request) {
    this.request = request;
    this.body = createNode("tbody", "", { role: "rowgroup" });
    const heads = COLUMNS.map(([name, label]) => createNode("th", className(name), { role: "columnheader", scope: "col" }, label));
    this.table = createNode("table", "wpc-functions wpc-registry", { role: "table", "aria-label": "Definitions" },
      createNode("thead", "", { role: "rowgroup" }, createNode("tr", "", { role: "row" }, ...heads)), this.body);
    this.empty = createNode("div", "wpc-empty", {}, "…");
    this.node = createNode("div", "wpc-scroll", { tabindex: "0", role: "group", "aria-label": "What is registered" }, this.table, this.empty);
    setHidden(this.table, true);
  }

  draw({ pool, events }) {
    // A change of a definition is an event, and one that only workers know of a change of a count.
    const changed = events.findLast((event) => event.name.startsWith("definition"))?.n ?? 0;
    const state = [changed, pool.state, pool.functions, pool.dependencies, pool.constants, pool.resources, pool.shared].join();
    if (state === this.state) return;
    this.state = state;
    this.ask();
  }

  ask() {
    this.askedAt = null; // until the answer is there
    this.request({ action: "registry" }, "registry", this.node, ({ rows }) => {
      this.askedAt = Date.now();
      this.fill(rows);
    });
  }

  tick() {
    if (this.askedAt && Date.now() - this.askedAt > 1000 * PERIOD_S) this.ask();
  }

  fill(rows) {
    const text = JSON.stringify(rows);
    if (text === this.shown) return; // so that a selection stays
    this.shown = text;
    this.body.replaceChildren(...rows.map(line));
    setHidden(this.table, rows.length === 0);
    setHidden(this.empty, rows.length > 0);
    setText(this.empty, "Nothing is registered.");
  }
}
