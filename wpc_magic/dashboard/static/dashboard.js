// The front end of the dashboard: draws the page's copy of the last frame, and sends clicks.
//
//   kernel ── patch ──> frame.js ──> model's "frame" ──> each view: View.draw
//   view ── click {id, action, …} ──> outbox ──> kernel ── patch.acked ──> the button is no longer pending
//                                                      └── patch.replies [{id, …}] ──> what the click asked for
//
// Nodes are reused and updated where they differ, so that focus, scrolling and selection persist, and so that a frame
// costs little. What is not visible is not drawn, and the kernel is told.

import { newId, Outbox } from "../../notebook/static/outbox.js";
import { ClearQueue } from "./clear.js";
import { button, count, createNode, mark, setData, setHidden, setText } from "./dom.js";
import { Events } from "./events.js";
import { initialize, kernelTime } from "./frame.js";
import { Functions } from "./functions.js";
import { HotLines } from "./hot.js";
import { Load } from "./load.js";
import { Registry } from "./registry.js";
import { Running } from "./running.js";
import { Tabs } from "./tabs.js";
import { Timeline } from "./timeline.js";
import { Workers } from "./workers.js";

const ACK_TIMEOUT_MS = 500; // a click that is not acknowledged in this time is queued behind a cell
const TICK_MS = 250;
const TOTALS = [
  ["queued", "queued"],
  ["in_flight", "in flight"],
  ["calls", "calls", "call"],
  ["items", "items", "item"],
  ["failed", "failed"],
  ["cancelled", "cancelled"],
  ["functions", "functions", "function"],
  ["dependencies", "dependencies", "dependency"],
  ["constants", "constants", "constant"],
  ["resources", "resources", "resource"],
  ["shared", "shared"],
  ["spare_workers", "spare workers", "spare worker"],
];
const RARE = new Set(["items", "cancelled", "resources", "shared", "spare_workers"]); // shown where there are any

class View {
  constructor(model, el) {
    this.model = model;
    this.outbox = new Outbox((message) => model.send(message));
    this.pending = new Set(); // requests that are not acknowledged: {label, node, overdue}
    this.replies = new Map(); // requests that are to be replied to: id -> what takes the reply
    this.target = null; // the requested number of workers
    this.visible = true;
    this.build();
    el.append(this.root);
    // Also a collapsed output, and one that is scrolled away, is not visible.
    this.observer = new IntersectionObserver((entries) => {
      this.onScreen = entries.at(-1).isIntersecting;
      this.look();
    });
    this.onScreen = true;
    this.observer.observe(this.root);
    this.look = this.look.bind(this);
    document.addEventListener("visibilitychange", this.look);
  }

  build() {
    const request = this.request.bind(this);
    this.name = createNode("span", "wpc-name");
    this.stateText = createNode("span");
    this.fewer = button("−", "One worker fewer", () => this.scale(-1), "square");
    this.size = createNode("output", "wpc-size", { "aria-label": "Number of workers" });
    this.more = button("+", "One worker more", () => this.scale(+1), "square");
    this.start = button("Start", "Start the workers", () => request({ action: "start", number: this.lastCount ?? 0 }, "start", this.start));
    this.stop = button("Stop", "Stop all workers", () => this.confirm(true), "danger");
    this.cancelStop = button("Keep running", "do not stop", () => this.confirm(false));
    this.drain = button("When all have ended", "stop the workers when all calls have ended, and take no new ones", () => {
      this.confirm(false);
      request({ action: "drain" }, "stop when all calls have ended", this.stop);
    });
    this.confirmStop = button("Stop", "Yes, stop all workers", () => {
      this.confirm(false);
      request({ action: "stop" }, "stop", this.stop);
    }, "danger filled");
    this.question = createNode("span", "wpc-question", { role: "group", "aria-label": "Stop all workers?" },
      createNode("span", "", {}, "Stop all workers? Calls that run will fail."), this.confirmStop, this.drain, this.cancelStop);
    this.question.hidden = true;
    this.question.addEventListener("keydown", (event) => event.key === "Escape" && this.confirm(false));
    this.clear = new ClearQueue(request);
    const controls = createNode("div", "wpc-controls", {},
      createNode("span", "wpc-label", {}, "Workers"), createNode("span", "wpc-stepper", {}, this.fewer, this.size, this.more),
      this.clear.node, this.start, this.stop, this.question);

    this.totals = Object.fromEntries(TOTALS.map(([name]) => [name, createNode("dd")]));
    this.labels = Object.fromEntries(TOTALS.map(([name]) => [name, createNode("dt")]));
    const totals = createNode("dl", "wpc-totals", {},
      ...TOTALS.map(([name]) => createNode("div", "", { "data-total": name }, this.labels[name], this.totals[name])));

    this.notice = createNode("div", "wpc-notice", { role: "status" });
    this.notice.hidden = true;
    this.workers = new Workers(request);
    this.events = new Events();
    this.timeline = new Timeline(request);
    this.tabs = new Tabs([
      ["Events", this.events],
      ["Running", new Running(request)],
      ["Timeline", this.timeline],
      ["Functions", new Functions(request)],
      ["Hot lines", new HotLines(request)],
      ["Load", new Load()],
      ["Registry", new Registry(request)],
    ], (panel) => this.onSelect(panel));
    const header = createNode("div", "wpc-head", {},
      createNode("span", "wpc-title", {}, this.name, createNode("span", "wpc-pool-state", {}, mark("wpc-dot"), this.stateText)),
      controls);
    // The static fallback for a notebook without its kernel is hidden as long as this view exists.
    const fallback = `.wpc-fallback-${String(this.model.get("frame").fallback).replace(/\W/g, "")}`;
    const hidden = createNode("style", "", {}, `${fallback}, .jp-OutputArea-child:has(${fallback}) { display: none }`);
    this.root = createNode("div", "wpc-dashboard", {}, hidden, header, totals, this.notice, this.workers.node, this.tabs.node);
  }

  // -- what is visible ----------------------------------------------------------------------------------

  look() {
    const visible = this.onScreen && !document.hidden;
    if (visible === this.visible) return;
    this.visible = visible;
    this.watch(visible);
    if (visible) this.draw();
  }

  /** Tell the kernel whether this view is looked at, and which panel: what nobody looks at is not sent. */
  watch(visible) {
    this.outbox.post({ action: "watch", view: this.outbox.id, visible, panel: this.tabs.label });
  }

  onSelect(panel) {
    if (!this.root) return; // while it is built
    this.watch(this.visible);
    panel.draw(this.model.get("frame"));
    panel.shown?.();
  }

  // -- drawing ------------------------------------------------------------------------------------------

  draw() {
    if (!this.visible) return;
    const frame = this.model.get("frame");
    const { pool, workers } = frame;
    const active = pool.state === "running" || pool.state === "starting";
    if (pool !== this.pool) this.drawPool(pool);
    if (workers.length) this.lastCount = workers.length;
    if (this.target === workers.length || frame.notice) this.target = null;
    setText(this.size, this.target === null ? String(workers.length) : `${workers.length} → ${this.target}`);
    this.fewer.disabled = !active || (this.target ?? workers.length) <= 1;
    this.more.disabled = !active;
    setHidden(this.start, active || pool.state === "stopping" || pool.state === "draining");
    this.start.disabled = pool.state === "gone";
    setHidden(this.stop, !this.question.hidden || !this.start.hidden);
    this.stop.disabled = pool.state === "stopping";
    this.clear.draw(pool);
    this.workers.draw(workers, active);
    this.events.draw(frame); // also if another panel is shown: it announces errors
    if (this.tabs.panel !== this.events) this.tabs.panel.draw(frame);
    this.drawNotice();
    this.tick();
  }

  drawPool(pool) {
    this.pool = pool;
    setText(this.name, pool.name);
    setText(this.stateText, pool.state);
    setData(this.root, "pool", pool.state);
    for (const [name, many, one] of TOTALS) {
      setText(this.totals[name], count(pool[name]));
      setText(this.labels[name], pool[name] === 1 ? (one ?? many) : many);
      setData(this.totals[name], "zero", String(pool[name] === 0));
      if (RARE.has(name)) setHidden(this.totals[name].parentNode, pool[name] === 0);
    }
  }

  /** Show the last error, or the requests that are queued. */
  drawNotice() {
    const overdue = [...this.pending].filter((each) => each.overdue).map((each) => each.label);
    const error = this.model.get("frame").notice;
    const text = overdue.length ? `${overdue.join(", ")}: queued until the cell ends` : error;
    setData(this.notice, "kind", overdue.length ? "queued" : "error");
    setText(this.notice, text ? text[0].toUpperCase() + text.slice(1) : "");
    setHidden(this.notice, !text);
  }

  tick() {
    const frame = this.model.get("frame");
    if (!this.visible || (!frame.live && this.ticked)) return; // in a saved notebook, time stands still
    this.ticked = true;
    const now = kernelTime(frame);
    this.workers.tick(now);
    this.tabs.panel.tick?.(now);
  }

  // -- requests -----------------------------------------------------------------------------------------

  request(message, label, node, onReply) {
    const id = newId();
    const entry = { label, node, overdue: false };
    entry.timer = setTimeout(() => {
      entry.overdue = true;
      this.drawNotice();
    }, ACK_TIMEOUT_MS);
    this.pending.add(entry);
    if (onReply) this.replies.set(id, onReply);
    node.dataset.pending = "true";
    this.outbox.post({ id, ...message }, () => this.taken(entry));
  }

  /** A request has arrived in the kernel. */
  taken(entry) {
    clearTimeout(entry.timer);
    this.pending.delete(entry);
    if (![...this.pending].some((each) => each.node === entry.node)) delete entry.node.dataset.pending;
    if (entry.overdue) this.drawNotice();
  }

  receive() {
    const patch = this.model.get("patch");
    this.outbox.acknowledge(patch.acked);
    for (const reply of patch.replies ?? []) {
      this.replies.get(reply.id)?.(reply);
      this.replies.delete(reply.id);
    }
  }

  scale(by) {
    const workers = this.model.get("frame").workers.length;
    this.target = Math.max((this.target ?? workers) + by, 1);
    this.request({ action: "scale", number: this.target }, `${this.target} workers`, by > 0 ? this.more : this.fewer);
    this.draw();
  }

  confirm(open) {
    this.question.hidden = !open;
    this.stop.hidden = open;
    (open ? this.cancelStop : this.stop).focus(); // so that Enter does the least harm
  }

  close() {
    document.removeEventListener("visibilitychange", this.look);
    this.observer.disconnect();
    for (const { timer } of this.pending) clearTimeout(timer);
    this.events.close();
    this.timeline.close();
    this.watch(false);
    this.outbox.close();
  }
}

function render({ model, el }) {
  const view = new View(model, el);
  const draw = () => view.draw();
  const receive = () => view.receive();
  model.on("change:frame", draw);
  model.on("change:patch", receive);
  const ticking = setInterval(() => view.tick(), TICK_MS);
  view.draw();
  view.watch(true);
  requestAnimationFrame(() => view.tabs.panel.shown?.());
  return () => {
    clearInterval(ticking);
    model.off("change:frame", draw);
    model.off("change:patch", receive);
    view.close();
  };
}

export default { initialize, render };
