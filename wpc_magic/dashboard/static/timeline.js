// The timeline: a lane for each process of a worker, a bar for each call, drawn on one canvas. It is moved with the
// mouse and with keys, and follows the present until it is moved.

import { describeEnded, describeRunning } from "./call.js";
import { button, count, createNode, duration, mark, setHidden, setText, timeOfDay } from "./dom.js";

const LANE = 20; // px, of which the bar takes all but the gap
const GAP = 4;
const AXIS = 22;
const HEAD = 100; // px, where the numbers of the workers stand, and how busy they were
const LONGEST_S = 600;
const SHORTEST_S = 0.01;
const FIRST_S = 60;
// Those of timeline_svg.py. Red is left to what has failed.
const COLOURS = ["#4c78a8", "#f58518", "#54a24b", "#b279a2", "#72b7b2", "#eeca3b", "#9d755d", "#ff9da6", "#bab0ac", "#79706e"];

/** Return black or white, whichever is read better on a colour. */
function inkOn(colour) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b > 120 ? "#111" : "#fff";
}

/** Return the widest of the steps 1, 2, 5, 10, ... of which at least `least` px lie between two marks. */
function stepOf(span, width, least) {
  const raw = (span * least) / width;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw);
}

const nameOfCall = (call) => call.replace(/ #\d+.*$/, "");
const numberOfCall = (call) => Number(call.match(/ #(\d+)/)?.[1] ?? 0);

/** Return the bars of the calls that run: those that have ended are in the timeline. */
function runningOf(workers, lanes) {
  const laneOf = new Map(lanes.filter((lane) => lane.end === null).map((lane) => [lane.pid, lane]));
  return workers
    .flatMap(({ pid, call, since, leaving }) => [{ pid, call, since }, ...leaving])
    .filter(({ pid, call, since }) => call !== null && since !== null && laneOf.has(pid))
    .map(({ pid, call, since }) => {
      const { n, worker } = laneOf.get(pid);
      return { lane: n, worker, from: since, to: null, name: nameOfCall(call), number: numberOfCall(call), calls: 1, failed: 0, cancelled: 0, busy: 1 };
    });
}

/** Give each process a row: those of a worker that ran at the same time have rows of their own. */
function rowsOf(processes) {
  const rows = []; // by worker, as the processes are
  for (const process of processes) {
    const free = rows.find((row) => row.worker === process.worker && row.until <= process.start);
    const until = process.end ?? Infinity;
    if (free) {
      free.processes.push(process);
      free.until = until;
    } else {
      rows.push({ worker: process.worker, processes: [process], until });
    }
  }
  return rows;
}

export class Timeline {
  constructor(request) {
    this.request = request;
    this.span = FIRST_S;
    this.isFitted = true; // until somebody zooms: not longer than there have been workers
    this.end = null; // null: the present
    this.now = 0;
    this.bars = [];
    this.running = [];
    this.rows = []; // {worker, processes}
    this.colours = new Map();
    this.chosen = null;
    this.canvas = createNode("canvas", "wpc-canvas", { "aria-hidden": "true" });
    this.area = createNode("div", "wpc-timeline-area", {
      tabindex: "0", role: "group", "aria-roledescription": "timeline",
      "aria-label": "Calls of each worker over time. Left and right move in time, plus and minus zoom, End follows the present, comma and full stop choose a call.",
    }, this.canvas);
    this.text = createNode("div", "wpc-timeline-text", { role: "status" });
    this.details = createNode("div", "wpc-call-details");
    this.shares = createNode("ul", "wpc-visually-hidden", { "aria-label": "How busy each worker was in the time that is shown" });
    this.legend = createNode("div", "wpc-legend");
    this.live = button("Now", "Now: follow the present", () => this.follow());
    const all = button("All", "All that is kept", () => this.showAll());
    const out = button("−", "Zoom out", () => this.zoom(2), "square");
    const into = button("+", "Zoom in", () => this.zoom(0.5), "square");
    this.empty = createNode("div", "wpc-empty", {}, "No worker has been started.");
    this.area.hidden = true;
    this.node = createNode("div", "wpc-timeline", {},
      createNode("div", "wpc-panel-bar", {}, createNode("span", "wpc-stepper", {}, out, into), all, this.live, this.legend), this.area, this.text, this.details, this.shares, this.empty);
    this.listen();
  }

  listen() {
    const { area } = this;
    area.addEventListener("keydown", (event) => this.onKey(event));
    area.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return; // the page is scrolled
      event.preventDefault();
      if (event.shiftKey) this.move(((event.deltaY || event.deltaX) / 500) * this.span);
      else this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.timeAt(event.offsetX));
    }, { passive: false });
    area.addEventListener("pointerdown", (event) => {
      area.setPointerCapture(event.pointerId);
      this.drag = { x: event.offsetX, end: this.endTime(), moved: false };
    });
    area.addEventListener("pointermove", (event) => {
      if (!this.drag) return this.describe(this.barAt(event.offsetX, event.offsetY));
      const by = event.offsetX - this.drag.x;
      if (Math.abs(by) < 3 && !this.drag.moved) return;
      this.drag.moved = true;
      this.moveTo(this.drag.end - (by / this.width()) * this.span);
    });
    area.addEventListener("pointerup", (event) => {
      if (this.drag && !this.drag.moved) this.choose(this.barAt(event.offsetX, event.offsetY));
      this.drag = null;
    });
    area.addEventListener("pointercancel", () => (this.drag = null));
    area.addEventListener("pointerleave", () => this.describe(this.chosen));
    this.resized = new ResizeObserver(() => this.paint());
    this.resized.observe(area);
  }

  // -- what is shown ------------------------------------------------------------------------------------

  draw({ timeline, workers }) {
    if (!timeline || (timeline === this.timeline && workers === this.workers)) return;
    if (timeline.lanes !== this.timeline?.lanes) {
      this.rows = rowsOf(timeline.lanes);
      this.rowOf = new Map();
      this.rows.forEach((row, i) => row.processes.forEach(({ n }) => this.rowOf.set(n, i)));
      setHidden(this.empty, this.rows.length > 0);
      setHidden(this.area, this.rows.length === 0);
    }
    this.timeline = timeline;
    this.workers = workers;
    this.bars = timeline.bars;
    this.running = runningOf(workers, timeline.lanes);
    this.drawLegend();
    this.paint();
  }

  colourOf(name) {
    if (!this.colours.has(name)) this.colours.set(name, COLOURS[this.colours.size % COLOURS.length]);
    return this.colours.get(name);
  }

  drawLegend() {
    const names = [...new Set([...this.bars, ...this.running].map((bar) => bar.name))];
    const shown = names.slice(0, 8).join("\n") + names.length;
    if (shown === this.shownLegend) return;
    this.shownLegend = shown;
    this.legend.replaceChildren(...names.slice(0, 8).map((name) => {
      const swatch = mark("wpc-swatch");
      swatch.style.background = this.colourOf(name);
      return createNode("span", "wpc-legend-name", { title: name }, swatch, name);
    }), ...(names.length > 8 ? [`and ${names.length - 8} more`] : []));
  }

  tick(now) {
    this.now = now;
    // At rest only the present moves, and that by less than a pixel: it is painted where it can be seen.
    if ((this.width() * (now - (this.painted ?? 0))) / this.span < 0.5) return;
    if (this.end === null && this.rows.length) this.paint();
  }

  shown() {
    this.paint();
  }

  // -- time ---------------------------------------------------------------------------------------------

  width() {
    return Math.max(this.area.clientWidth - HEAD, 1);
  }

  endTime() {
    return this.end ?? this.now;
  }

  timeAt(x) {
    return this.endTime() - this.span + ((x - HEAD) / this.width()) * this.span;
  }

  move(by) {
    this.moveTo(this.endTime() + by);
  }

  moveTo(end) {
    this.end = end >= this.now ? null : end;
    this.paint();
  }

  follow() {
    this.end = null;
    this.paint();
  }

  zoom(factor, around = this.endTime() - this.span / 2) {
    this.isFitted = false;
    const span = Math.min(Math.max(this.span * factor, SHORTEST_S), LONGEST_S);
    if (this.end !== null) this.end = around + ((this.end - around) * span) / this.span;
    this.span = span;
    if (this.end !== null && this.end >= this.now) this.end = null;
    this.paint();
  }

  showAll() {
    this.isFitted = false;
    const first = Math.min(...this.bars.map((bar) => bar.from), this.now - 1);
    this.span = Math.min(Math.max((this.now - first) * 1.02, 1), LONGEST_S);
    this.follow();
  }

  onKey(event) {
    const keys = {
      ArrowLeft: () => this.move(-this.span / 8),
      ArrowRight: () => this.move(this.span / 8),
      "+": () => this.zoom(0.5),
      "=": () => this.zoom(0.5),
      "-": () => this.zoom(2),
      Home: () => this.showAll(),
      End: () => this.follow(),
      ",": () => this.chooseNext(-1),
      ".": () => this.chooseNext(1),
      Escape: () => this.choose(null),
    };
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has its own use for arrows
    act();
  }

  // -- bars ---------------------------------------------------------------------------------------------

  barAt(x, y) {
    const row = Math.floor(y / LANE);
    const at = this.timeAt(x);
    const near = (3 * this.span) / this.width(); // a short bar is met by who comes near it
    let best = null;
    for (const bar of [...this.bars, ...this.running]) {
      if (this.rowOf.get(bar.lane) !== row || at < bar.from - near || at > (bar.to ?? this.now) + near) continue;
      const off = Math.max(bar.from - at, at - (bar.to ?? this.now), 0);
      if (!best || off < best.off) best = { bar, off };
    }
    return best?.bar ?? null;
  }

  chooseNext(by) {
    // What runs comes last: when it began is known less well.
    const byTime = (bars) => bars.toSorted((a, b) => a.from - b.from);
    const bars = [...byTime(this.bars), ...byTime(this.running)];
    if (!bars.length) return;
    const at = this.chosen ? bars.findIndex((bar) => bar.from >= this.chosen.from && bar.number === this.chosen.number) : bars.length - (by > 0 ? 1 : 0);
    const bar = bars[Math.min(Math.max(at + by, 0), bars.length - 1)];
    if (bar.from < this.endTime() - this.span || bar.from > this.endTime()) this.end = Math.min(bar.from + this.span / 2, this.now);
    this.choose(bar);
  }

  choose(bar) {
    this.chosen = bar;
    this.describe(bar);
    this.open(bar);
    this.paint();
  }

  /** Show what is known of one call; of several there is the line above only. */
  open(bar) {
    if (!bar?.number) return this.details.replaceChildren();
    if (bar.to === null) return this.details.replaceChildren(...describeRunning(bar, this.request));
    this.request({ action: "call", number: bar.number }, `call #${bar.number}`, this.details, ({ call }) => {
      if (bar === this.chosen) this.details.replaceChildren(...describeEnded(call));
    });
  }

  describe(bar) {
    if (!bar) return setText(this.text, "");
    const what = bar.calls > 1 ? `${count(bar.calls)} calls, mostly ${bar.name}` : `${bar.name} #${bar.number}`;
    const time = bar.to === null ? "runs" : duration(bar.to - bar.from);
    const wrong = bar.calls > 1 ? [bar.failed && `${bar.failed} failed`, bar.cancelled && `${bar.cancelled} cancelled`] : [bar.failed && "failed", bar.cancelled && "cancelled"];
    setText(this.text, [what, `worker ${bar.worker}`, timeOfDay(bar.from * 1000), time, ...wrong].filter(Boolean).join(" · "));
  }

  // -- painting -----------------------------------------------------------------------------------------

  paint() {
    if (this.painting) return;
    this.painting = requestAnimationFrame(() => {
      this.painting = null;
      if (this.area.clientWidth) this.paintNow();
    });
  }

  paintNow() {
    const { canvas, area } = this;
    const [width, height, scale] = [area.clientWidth, this.rows.length * LANE + AXIS, devicePixelRatio];
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
      canvas.style.height = area.style.height = `${height}px`;
    }
    const style = getComputedStyle(area);
    const theme = Object.fromEntries(["text", "muted", "line", "bad", "accent"].map((name) => [name, style.getPropertyValue(`--canvas-${name}`)]));
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = `11px ${style.fontFamily}`;
    pen.textBaseline = "middle";
    this.painted = this.now;
    const starts = this.rows.flatMap((row) => row.processes.map((process) => process.start));
    const begin = Math.min(...starts, ...this.bars.map((bar) => bar.from));
    if (this.isFitted) this.span = Math.min(Math.max(this.now - begin + 1, 10), FIRST_S);
    const end = this.endTime();
    const start = end - this.span;
    const x = (time) => HEAD + ((time - start) / this.span) * (width - HEAD);
    this.paintAxis(pen, theme, x, start, end, height);
    const shares = this.busyShares(start, end);
    this.tellShares(shares);
    this.rows.forEach((row, i) => {
      const isFirst = i === 0 || this.rows[i - 1].worker !== row.worker;
      pen.fillStyle = theme.muted;
      if (isFirst) {
        pen.fillText(`worker ${row.worker}`, 4, i * LANE + LANE / 2);
        pen.textAlign = "right";
        pen.fillText(`${shares.get(row.worker)} %`, HEAD - 8, i * LANE + LANE / 2);
        pen.textAlign = "left";
      }
      pen.fillStyle = theme.line;
      for (const process of row.processes) {
        const [left, right] = [Math.max(x(process.start), HEAD), Math.min(x(process.end ?? this.now), width)];
        if (right > left) pen.fillRect(left, i * LANE + LANE / 2, right - left, 1); // it is there, and idle
      }
    });
    pen.save();
    pen.beginPath();
    pen.rect(HEAD, 0, width - HEAD, height);
    pen.clip();
    for (const bar of [...this.bars, ...this.running]) {
      if ((bar.to ?? this.now) >= start && bar.from <= end) this.paintBar(pen, theme, bar, x);
    }
    this.paintProcesses(pen, theme, x);
    pen.restore();
    this.live.setAttribute("aria-pressed", String(this.end === null));
  }

  /** Return for each worker what share of the shown time it has run calls, in percent. */
  busyShares(start, end) {
    const busy = new Map(this.rows.map((row) => [row.worker, 0]));
    for (const bar of [...this.bars, ...this.running]) {
      const overlap = Math.min(bar.to ?? this.now, end) - Math.max(bar.from, start);
      if (overlap > 0 && busy.has(bar.worker)) busy.set(bar.worker, busy.get(bar.worker) + overlap * bar.busy);
    }
    return new Map([...busy].map(([worker, s]) => [worker, Math.min(Math.round((100 * s) / (end - start)), 100)]));
  }

  tellShares(shares) {
    const texts = [...shares].map(([worker, share]) => `Worker ${worker}: ${share} %`);
    if (texts.join() === this.told) return;
    this.told = texts.join();
    this.shares.replaceChildren(...texts.map((text) => createNode("li", "", {}, text)));
  }

  paintAxis(pen, theme, x, start, end, height) {
    const step = stepOf(this.span, this.width(), 80);
    for (let time = Math.ceil(start / step) * step; time <= end; time += step) {
      pen.fillStyle = theme.line;
      pen.fillRect(Math.round(x(time)), 0, 1, height - AXIS + 4);
      pen.fillStyle = theme.muted;
      const ago = this.now - time;
      const text = this.span > 5 ? timeOfDay(time * 1000) : ago < step / 2 ? "now" : `−${duration(ago)}`;
      pen.fillText(text, x(time) + 3, height - AXIS / 2 + 3);
    }
  }

  paintBar(pen, theme, bar, x) {
    const row = this.rowOf.get(bar.lane);
    if (row === undefined) return;
    const left = x(bar.from);
    const width = Math.max(x(bar.to ?? this.now) - left, 1);
    // As high as the lane was busy: several short calls have pauses between them.
    const height = Math.max((LANE - GAP) * bar.busy, 4);
    const top = (row + 1) * LANE - GAP / 2 - height;
    pen.globalAlpha = bar.to === null ? 0.55 : 1;
    pen.fillStyle = this.colourOf(bar.name);
    pen.fillRect(left, top, width, height);
    pen.globalAlpha = 1;
    if (bar.failed) {
      // Not by colour alone: a notch that a bar which went well has not.
      pen.fillStyle = theme.bad;
      pen.fillRect(left - 1, top - 2, Math.max(width + 2, 3), 5);
      pen.fillRect(left - 1, top + height - 3, Math.max(width + 2, 3), 5);
    } else if (bar.cancelled) {
      pen.fillStyle = theme.muted;
      pen.fillRect(left, top, width, 3);
    }
    if (width > 40 && bar.to !== null && bar.calls === 1) {
      pen.fillStyle = inkOn(this.colourOf(bar.name));
      pen.save();
      pen.beginPath();
      pen.rect(left, top, width - 3, height);
      pen.clip();
      pen.fillText(bar.name, Math.max(left, HEAD) + 4, top + height / 2 + 1);
      pen.restore();
    }
    if (this.chosen && bar.number === this.chosen.number && bar.from === this.chosen.from) {
      pen.strokeStyle = theme.text;
      pen.lineWidth = 2;
      pen.strokeRect(left, top, width, height);
    }
  }

  /** Mark where processes were replaced, and in red where one was lost. */
  paintProcesses(pen, theme, x) {
    this.rows.forEach((row, i) => row.processes.forEach(({ start, end, reason }, n) => {
      pen.fillStyle = theme.text;
      if (n > 0 || (i > 0 && this.rows[i - 1].worker === row.worker)) pen.fillRect(x(start), i * LANE + 1, 2, LANE - 2);
      if (end === null) return;
      pen.fillStyle = reason ? theme.bad : theme.text;
      pen.fillRect(x(end), i * LANE + 1, reason ? 3 : 1, LANE - 2);
    }));
  }

  close() {
    this.resized.disconnect();
    cancelAnimationFrame(this.painting);
  }
}
