// The load over time: throughput, queue and busy workers, and the memory of each worker, as small charts.

import { count, createNode, memory, setHidden, setText } from "./dom.js";

const WIDTH = 240; // of the drawing, which is stretched
const HEIGHT = 44;
const SPACE = "http://www.w3.org/2000/svg";
const SHARED = "Shared memory in use";
const rate = (number) => (number < 10 ? String(Number(number.toPrecision(2))) : count(Math.round(number)));
// The label, what it shows of a sample, and how a number of it is written.
const CHARTS = [
  ["Ended a second", ({ rate: value }) => value, rate],
  ["Failed a second", ({ failed }) => failed, rate],
  ["Queued", ({ queued }) => queued, count],
  ["Busy workers", ({ busy }) => busy, count],
  [SHARED, ({ blocks }) => blocks, memory],
];

class Chart {
  constructor(label, show) {
    this.label = label;
    this.show = show;
    this.latest = createNode("dd", "wpc-chart-latest");
    this.peak = createNode("dd", "wpc-chart-peak");
    this.svg = document.createElementNS(SPACE, "svg");
    this.line = document.createElementNS(SPACE, "path");
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("aria-hidden", "true");
    this.svg.append(this.line);
    this.node = createNode("dl", "wpc-chart", { "data-chart": label },
      createNode("div", "", {}, createNode("dt", "", {}, label), this.latest), this.svgHolder(), createNode("div", "wpc-chart-foot", {}, createNode("dt", "", {}, "at most"), this.peak));
  }

  svgHolder() {
    // In a list of facts only facts may stand: the drawing is one without a word.
    return createNode("div", "wpc-chart-drawing", { "aria-hidden": "true" }, this.svg);
  }

  /** `values` are evenly spaced, the latest last; `most` is how many there is room for, `peakText` what is said of the peak. */
  draw(values, most, peakText = null) {
    const peak = Math.max(...values, 0);
    setText(this.latest, this.show(values.at(-1) ?? 0));
    setText(this.peak, peakText ?? this.show(peak));
    const x = (i) => (WIDTH * (most - values.length + i)) / Math.max(most - 1, 1);
    const y = (value) => HEIGHT - 2 - ((HEIGHT - 4) * value) / (peak || 1);
    const points = values.map((value, i) => `${x(i).toFixed(1)} ${y(value).toFixed(1)}`);
    this.line.setAttribute("d", points.length ? `M${points.join("L")}` : "");
  }
}

export class Load {
  constructor() {
    this.charts = CHARTS.map(([label, , show]) => new Chart(label, show));
    this.memory = new Map();
    this.memoryNode = createNode("div", "wpc-charts");
    this.memoryLabel = createNode("div", "wpc-label wpc-charts-label", {}, "Memory");
    this.node = createNode("div", "wpc-load", {}, createNode("div", "wpc-charts", {}, ...this.charts.map((chart) => chart.node)), this.memoryLabel, this.memoryNode);
  }

  draw({ load }) {
    if (!load || load === this.load) return;
    this.load = load;
    const most = Math.max(load.samples.length, 60);
    const { peak, limit } = load.blocks;
    CHARTS.forEach(([label, read], i) => {
      // A block may come and go between two samples: the pool itself knows the peak.
      this.charts[i].draw(load.samples.map(read), most, label === SHARED ? `${memory(peak)} of ${memory(limit)}` : null);
    });
    const present = new Set(load.memory.map((row) => row.worker));
    for (const [worker, chart] of this.memory) {
      if (present.has(worker)) continue;
      chart.node.remove();
      this.memory.delete(worker);
    }
    for (const row of load.memory) {
      if (!this.memory.has(row.worker)) {
        const chart = new Chart(`Worker ${row.worker}`, memory);
        this.memory.set(row.worker, chart);
        this.memoryNode.append(chart.node);
      }
      this.memory.get(row.worker).draw(row.bytes, Math.max(row.bytes.length, 30));
    }
    setHidden(this.memoryLabel, load.memory.length === 0);
  }
}
