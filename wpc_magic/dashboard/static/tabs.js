// Panels, of which one is shown: as the pattern for tabs of the ARIA guide has it.

import { createNode, setHidden } from "./dom.js";

let tabCount = 0; // on this page

export class Tabs {
  /** `panels` are pairs of a label and an object with a `node`, and `draw`, `shown` and `tick` as it needs them. */
  constructor(panels, onSelect) {
    this.labels = panels.map(([label]) => label);
    this.panels = panels.map(([, panel]) => panel);
    this.onSelect = onSelect;
    tabCount += 1;
    this.tabs = panels.map(([label], i) => {
      const id = `wpc-tab-${tabCount}-${i}`;
      return createNode("button", "wpc-tab", { type: "button", role: "tab", id, "aria-controls": `${id}-panel`, onclick: () => this.select(i) }, label);
    });
    this.list = createNode("div", "wpc-tabs", { role: "tablist", "aria-label": "Views" }, ...this.tabs);
    this.list.addEventListener("keydown", (event) => this.onKey(event));
    this.frames = this.panels.map((panel, i) =>
      createNode("div", "wpc-panel", { role: "tabpanel", id: `${this.tabs[i].id}-panel`, "aria-labelledby": this.tabs[i].id }, panel.node));
    this.node = createNode("section", "wpc-views", { "aria-label": "Views of the pool" }, this.list, ...this.frames);
    this.select(0);
  }

  select(index) {
    this.selected = index;
    this.tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
      setHidden(this.frames[i], i !== index);
    });
    this.onSelect?.(this.panels[index]);
  }

  onKey(event) {
    const { length } = this.tabs;
    const forward = getComputedStyle(this.list).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const back = forward === "ArrowLeft" ? "ArrowRight" : "ArrowLeft";
    const to = { [forward]: (this.selected + 1) % length, [back]: (this.selected + length - 1) % length, Home: 0, End: length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has its own use for arrows
    this.select(to);
    this.tabs[to].focus();
  }

  get label() {
    return this.labels[this.selected];
  }

  get panel() {
    return this.panels[this.selected];
  }
}
