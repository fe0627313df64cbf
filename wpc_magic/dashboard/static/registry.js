// What the pool has registered: asked for when it is looked at, and again when a definition has changed.

import { bytes, count, createNode, setHidden, setText } from "./dom.js";

const COLUMNS = [
  ["kind", "Kind"],
  ["name", "Name"],
  ["what", "What it is"],
  ["needs", "Needs"],
  ["size", "Size"],
  ["workers", "Workers"],
];
const NUMBERS = new Set(["size", "workers"]);
const className = (name) => `wpc-r-${name}${NUMBERS.has(name) ? " number" : ""}`;

function line(row) {
  const shown = { ...row, needs: row.needs.join(", "), size: bytes(row.nbytes), workers: count(row.workers) };
  const node = createNode("tr", "", { role: "row", "data-broken": String(row.broken !== "") },
    ...COLUMNS.map(([name]) => createNode("td", className(name), { role: "cell", title: shown[name] }, shown[name])));
  if (row.broken) node.lastChild.replaceChildren(createNode("span", "wpc-broken", { title: row.broken }, `broken: ${row.broken}`));
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
    this.request({ action: "registry" }, "registry", this.node, ({ rows }) => this.fill(rows));
  }

  fill(rows) {
    this.body.replaceChildren(...rows.map(line));
    setHidden(this.table, rows.length === 0);
    setHidden(this.empty, rows.length > 0);
    setText(this.empty, "Nothing is registered.");
  }
}
