// The lines where time goes, per function: sampled while this panel is shown, and somebody has asked for it.

import { button, count, createNode, setData, setHidden, setText } from "./dom.js";

const percent = (share) => (share ? `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %` : "");
const COLUMNS = [
  ["here", "Time here"],
  ["below", "With calls"],
  ["place", "Line"],
  ["source", "Source"],
];
const className = (name) => `wpc-h-${name}${name === "here" || name === "below" ? " number" : ""}`;

class Line {
  constructor() {
    this.bar = createNode("i", "wpc-share", { "aria-hidden": "true" });
    this.here = createNode("span");
    this.source = createNode("code");
    this.cells = Object.fromEntries(COLUMNS.map(([name, label]) =>
      [name, createNode("td", className(name), { role: "cell", "data-label": label }, ...(name === "here" ? [this.bar, this.here] : name === "source" ? [this.source] : []))]));
    this.node = createNode("tr", "", { role: "row" }, ...Object.values(this.cells));
  }

  draw({ here, below, file, path, line, name, source }) {
    setText(this.here, percent(here));
    this.bar.style.transform = `scaleX(${here})`;
    setText(this.cells.below, percent(below));
    setText(this.cells.place, `${name}, ${file}, line ${line}`);
    this.cells.place.title = `${path}, line ${line}`;
    setText(this.source, source);
    this.source.title = source;
  }
}

class HotFunction {
  constructor(name) {
    this.share = createNode("span", "wpc-label");
    this.lines = [];
    this.body = createNode("tbody", "", { role: "rowgroup" });
    const head = createNode("tr", "", { role: "row" }, ...COLUMNS.map(([each, label]) => createNode("th", className(each), { role: "columnheader", scope: "col" }, label)));
    const table = createNode("table", "wpc-functions wpc-hot", { role: "table", "aria-label": `Hot lines of ${name}` }, createNode("thead", "", { role: "rowgroup" }, head), this.body);
    this.others = createNode("div", "wpc-label wpc-hot-others");
    this.node = createNode("section", "wpc-hot-function", { "aria-label": name, "data-function": name },
      createNode("div", "wpc-hot-name", {}, createNode("strong", "", {}, name), this.share),
      createNode("div", "wpc-scroll", { tabindex: "0", role: "group", "aria-label": `Lines of ${name}` }, table), this.others);
  }

  draw({ share, samples, lines, others }) {
    setText(this.share, `${percent(share) || "0 %"} of all samples: ${count(samples)}`);
    while (this.lines.length > lines.length) this.lines.pop().node.remove();
    lines.forEach((line, i) => {
      if (!this.lines[i]) {
        this.lines.push(new Line());
        this.body.append(this.lines[i].node);
      }
      this.lines[i].draw(line);
    });
    setText(this.others, others ? `${count(others)} more lines` : "");
    setHidden(this.others, others === 0);
  }
}

export class HotLines {
  constructor(request) {
    this.toggle = button("Start", "Start to sample", () => {
      const number = this.sampling ? 0 : 1;
      request({ action: "sample", number }, number ? "start of sampling" : "end of sampling", this.toggle);
    });
    this.text = createNode("span", "wpc-label", { role: "status" });
    this.functions = new Map();
    this.list = createNode("div", "wpc-hot-functions");
    this.empty = createNode("div", "wpc-empty", {}, "Which lines take the time? Ten times a second it is asked which line each call is at. What runs is not interrupted for that.");
    this.node = createNode("div", "wpc-hot-panel", {}, createNode("div", "wpc-panel-bar", {}, this.toggle, this.text), this.list, this.empty);
  }

  draw({ hot }) {
    if (!hot || hot === this.hot) return;
    this.hot = hot;
    const { sampling, samples, functions } = hot;
    if (sampling !== this.sampling) {
      this.sampling = sampling;
      const help = sampling ? "Stop to sample" : "Start to sample";
      setText(this.toggle, sampling ? "Stop" : "Start");
      this.toggle.title = help;
      this.toggle.setAttribute("aria-label", help);
      setData(this.node, "sampling", String(sampling));
      setText(this.text, sampling ? "Samples are taken while this is shown." : samples === null ? "" : "No samples are taken.");
    }
    for (const [name, shown] of this.functions) {
      if (functions.some((each) => each.function === name)) continue;
      shown.node.remove();
      this.functions.delete(name);
    }
    let before = null;
    for (const each of functions) {
      if (!this.functions.has(each.function)) this.functions.set(each.function, new HotFunction(each.function));
      const { node } = this.functions.get(each.function);
      const after = before ? before.nextSibling : this.list.firstChild;
      if (after !== node) this.list.insertBefore(node, after);
      before = node;
      this.functions.get(each.function).draw(each);
    }
    setHidden(this.empty, functions.length > 0);
    if (samples !== null && !functions.length) setText(this.empty, "No function was found running.");
  }
}
