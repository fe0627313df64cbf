// The functions: how often they were called, how it ended and how long it took; sorted by any column. One that is
// opened shows its source, what it needs, and its last calls.

import { listOfCalls } from "./call.js";
import { count, createNode, duration, setData, setHidden, setText } from "./dom.js";

const percent = (share) => (share ? `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %` : "");
const shortTime = (s) => (s === null ? "" : duration(s));
// The name of the column, what stands on it, and how a value is shown.
const COLUMNS = [
  ["name", "Function", String],
  ["calls", "Calls", count],
  ["items", "Items", count],
  ["failed", "Failed", count],
  ["cancelled", "Cancelled", count],
  ["p50", "p50", shortTime],
  ["p95", "p95", shortTime],
  ["p99", "p99", shortTime],
  ["share", "Share of time", percent],
  ["version", "Version", (version) => (version ? String(version) : "")],
  ["last_error", "Last error", (error) => error ?? ""],
];
const TEXTS = new Set(["name", "last_error"]);
const className = (name) => `wpc-f-${name}${TEXTS.has(name) ? "" : " number"}`;

class FunctionRow {
  constructor(name, request) {
    this.name = name;
    this.request = request;
    this.open = createNode("button", "wpc-open", { type: "button", "aria-expanded": "false", onclick: () => this.toggle() }, name);
    this.bar = createNode("i", "wpc-share", { "aria-hidden": "true" });
    this.share = createNode("span");
    this.cells = Object.fromEntries(COLUMNS.slice(1).map(([each, label]) =>
      [each, createNode("td", className(each), { role: "cell", "data-label": label }, ...(each === "share" ? [this.bar, this.share] : []))]));
    this.node = createNode("tr", "wpc-function", { role: "row", "data-function": name },
      createNode("th", className("name"), { role: "rowheader", scope: "row" }, this.open), ...Object.values(this.cells));
    this.details = null;
  }

  nodes() {
    return this.details ? [this.node, this.details] : [this.node];
  }

  draw(row) {
    if (row === this.row) return;
    const before = this.row ?? {};
    this.row = row;
    for (const [name, , show] of COLUMNS.slice(1)) {
      if (row[name] === before[name]) continue;
      setText(name === "share" ? this.share : this.cells[name], show(row[name]));
      if (typeof row[name] === "number") setData(this.cells[name], "zero", String(row[name] === 0));
    }
    this.bar.style.transform = `scaleX(${row.share ?? 0})`;
    if (row.last_error !== before.last_error) this.cells.last_error.title = row.last_error ?? "";
  }

  toggle() {
    this.open.setAttribute("aria-expanded", String(!this.details));
    if (this.details) {
      this.details.remove();
      this.details = null;
      return;
    }
    const content = createNode("div", "wpc-function-details", {}, "…");
    this.details = createNode("tr", "wpc-more", { role: "row" }, createNode("td", "", { role: "cell", colspan: String(COLUMNS.length) }, content));
    this.node.after(this.details);
    this.request({ action: "function", text: this.name }, `source of ${this.name}`, this.open, (reply) => content.replaceChildren(...this.described(reply)));
  }

  described({ source, needs, calls }) {
    const label = (text) => createNode("div", "wpc-label", {}, text);
    const pre = createNode("pre", "wpc-pre", { tabindex: "0", role: "group", "aria-label": `Source of ${this.name}` }, source || "Its source is not known.");
    const list = listOfCalls(calls, ({ number }) => `#${number}`, ({ worker }) => (worker ? `worker ${worker}` : ""));
    return [pre, label(`Needs: ${needs.length ? needs.join(", ") : "nothing"}`), label(calls.length ? "Its last calls" : "None of its last calls is kept."), list];
  }
}

export class Functions {
  constructor(request) {
    this.request = request;
    this.rows = new Map();
    this.sorted = { by: "share", down: true };
    this.heads = COLUMNS.map(([name, label]) => {
      const sort = createNode("button", "wpc-sort", { type: "button", title: `Sort by ${label.toLowerCase()}`, onclick: () => this.sort(name) }, label);
      return createNode("th", className(name), { role: "columnheader", scope: "col" }, sort);
    });
    this.body = createNode("tbody", "", { role: "rowgroup" });
    this.table = createNode("table", "wpc-functions", { role: "table", "aria-label": "Functions" },
      createNode("thead", "", { role: "rowgroup" }, createNode("tr", "", { role: "row" }, ...this.heads)), this.body);
    this.empty = createNode("div", "wpc-empty", {}, "No function has been called.");
    this.node = createNode("div", "wpc-scroll", { tabindex: "0", role: "group", "aria-label": "Functions and their calls" }, this.table, this.empty);
    this.drawHeads();
  }

  sort(name) {
    this.sorted = { by: name, down: this.sorted.by === name ? !this.sorted.down : !TEXTS.has(name) };
    this.drawHeads();
    this.place();
  }

  drawHeads() {
    COLUMNS.forEach(([name], i) => {
      const isSorted = name === this.sorted.by;
      if (isSorted) this.heads[i].setAttribute("aria-sort", this.sorted.down ? "descending" : "ascending");
      else this.heads[i].removeAttribute("aria-sort");
    });
  }

  draw({ functions = [] }) {
    if (functions === this.functions) return;
    this.functions = functions;
    const present = new Set(functions.map((row) => row.name));
    for (const [name, row] of this.rows) {
      if (present.has(name)) continue;
      for (const node of row.nodes()) node.remove();
      this.rows.delete(name);
    }
    for (const row of functions) {
      if (!this.rows.has(row.name)) this.rows.set(row.name, new FunctionRow(row.name, this.request));
      this.rows.get(row.name).draw(row);
    }
    this.place();
    setHidden(this.empty, functions.length > 0);
    setHidden(this.table, functions.length === 0);
  }

  /** Put the rows in order; only those that have moved are touched. */
  place() {
    const { by, down } = this.sorted;
    const order = (a, b) => (typeof a === "string" ? a.localeCompare(b ?? "") : (a ?? -1) - (b ?? -1));
    const rows = [...this.rows.values()].sort((a, b) => (down ? -1 : 1) * order(a.row[by] ?? (TEXTS.has(by) ? "" : -1), b.row[by] ?? (TEXTS.has(by) ? "" : -1)) || a.name.localeCompare(b.name));
    const focused = document.activeElement;
    let before = null;
    for (const node of rows.flatMap((row) => row.nodes())) {
      const after = before ? before.nextSibling : this.body.firstChild;
      if (after !== node) this.body.insertBefore(node, after);
      before = node;
    }
    if (focused !== document.activeElement && this.body.contains(focused)) focused.focus(); // a node that moves loses it
  }
}
