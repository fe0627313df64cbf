// The front end of the dashboard: keeps a copy of the last frame, draws it, and sends clicks.
//
//   kernel ── patch ──> initialize: apply ──> model's "frame" ──> each view: View.draw
//   view ── click {id, action, number} ──> kernel ── patch.acked [id] ──> the button is no longer pending
//
// Everything from the kernel is inserted as text. Nodes are reused and updated where they differ, so that focus,
// scrolling and selection persist.

const KEPT_EVENTS = 200; // as many as view.py keeps
const ACK_TIMEOUT_MS = 500; // a click that is not acknowledged in this time is queued behind a cell
const TICK_MS = 100;
const LEVELS = ["info", "warn", "error"];

// -- the copy of the frame ------------------------------------------------------------------------------

function apply(frame, patch) {
  if (patch.full) return { ...frame, ...patch.full, seq: patch.seq };
  const removed = new Set(patch.removed ?? []);
  const rows = new Map(frame.workers.filter((row) => !removed.has(row.id)).map((row) => [row.id, row]));
  for (const changed of patch.workers ?? []) {
    rows.set(changed.id, { ...rows.get(changed.id), ...changed });
  }
  return {
    ...frame,
    seq: patch.seq,
    notice: patch.notice ?? frame.notice,
    pool: { ...frame.pool, ...patch.pool },
    workers: [...rows.values()].sort((a, b) => a.id - b.id),
    events: patch.events ? [...frame.events, ...patch.events].slice(-KEPT_EVENTS) : frame.events,
  };
}

const seconds = () => Date.now() / 1000;

function initialize({ model }) {
  const sync = () => model.send({ action: "sync", seq: model.get("frame").seq });
  // The offset of this clock from the kernel's: the minimum seen, since delays only increase it.
  const first = model.get("frame");
  model.set("frame", { ...first, clockOffset: seconds() - first.now, live: false });

  const receive = () => {
    const frame = model.get("frame");
    const patch = model.get("patch");
    if (!patch.seq || (patch.seq <= frame.seq && !patch.full)) return;
    if (!patch.full && patch.seq !== frame.seq + 1) return sync(); // a patch was missed
    const clockOffset = Math.min(frame.clockOffset, seconds() - patch.now);
    model.set("frame", { ...apply(frame, patch), clockOffset, live: true });
  };
  model.on("change:patch", receive);
  sync(); // with the number of the initial frame, in case it is outdated
}

// -- formatting -----------------------------------------------------------------------------------------

const decimal = new Intl.NumberFormat("en");
const count = (number) => decimal.format(number);

function elapsed(s) {
  if (s < 9.95) return `${Math.max(s, 0).toFixed(1)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  const minutes = Math.floor(Math.round(s) / 60);
  const two = (n) => String(n).padStart(2, "0");
  if (minutes < 60) return `${minutes} min ${two(Math.round(s) % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

function timeOfDay(timestamp) {
  const at = new Date(timestamp);
  return Number.isNaN(at.getTime()) ? timestamp : at.toLocaleTimeString("en-GB");
}

// -- DOM nodes ------------------------------------------------------------------------------------------

function createNode(tag, className = "", attributes = {}, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else node.setAttribute(name, value);
  }
  node.append(...children); // strings become text
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setData(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

function button(label, help, onclick, className = "") {
  return createNode("button", `wpc-button ${className}`, { type: "button", "aria-label": help, title: help, onclick }, label);
}

// -- a worker's row -------------------------------------------------------------------------------------

const NUMBERS = ["waiting", "done", "failed", "restarts"];
const COLUMNS = [
  ["Worker", ""],
  ["State", ""],
  ["PID", "number"],
  ["Running", ""],
  ["For", "number"],
  ["Waiting", "number"],
  ["Done", "number"],
  ["Failed", "number"],
  ["Restarts", "number"],
  ["Memory", "number"],
  ["CPU", "number"],
  ["", "action"],
];

class Row {
  constructor(id, request) {
    this.cells = {};
    const cell = (name, className = "") => (this.cells[name] = createNode("td", className));
    this.stateText = createNode("span");
    this.percent = createNode("span");
    this.bar = createNode("i", "wpc-bar", { "aria-hidden": "true" });
    this.restart = button("Restart", `Restart worker ${id}`, () =>
      request({ action: "restart", number: id }, `restart of worker ${id}`, this.restart),
    );
    this.node = createNode("tr", "wpc-worker", { "data-worker": id });
    this.node.append(
      createNode("th", "", { scope: "row" }, String(id)),
      createNode("td", "wpc-state", {}, createNode("i", "wpc-dot", { "aria-hidden": "true" }), this.stateText),
      cell("pid", "number muted"),
      cell("call", "wpc-call"),
      cell("for", "number wpc-for"),
      ...NUMBERS.map((name) => cell(name, `number wpc-${name}`)),
      cell("memory", "number"),
      createNode("td", "number wpc-cpu", {}, this.bar, this.percent),
      createNode("td", "action", {}, this.restart),
    );
  }

  draw(row, usable) {
    this.row = row;
    setData(this.node, "state", row.state);
    setData(this.node, "busy", String(row.call !== null));
    setText(this.cells.pid, row.pid === null ? "" : String(row.pid));
    setText(this.cells.call, row.call ?? "");
    if (this.cells.call.title !== (row.call ?? "")) this.cells.call.title = row.call ?? "";
    for (const name of NUMBERS) {
      setText(this.cells[name], count(row[name]));
      setData(this.cells[name], "zero", String(row[name] === 0));
    }
    setText(this.cells.memory, row.memory);
    setText(this.percent, row.cpu === null ? "" : `${row.cpu} %`);
    const width = `${Math.min(row.cpu ?? 0, 100)}%`;
    if (this.bar.style.width !== width) this.bar.style.width = width;
    this.restart.disabled = !usable || row.state === "stopped";
  }

  /** Update what depends on the time. */
  tick(now) {
    const { since, back_at: backAt, state } = this.row;
    const runs = since === null ? -1 : now - since;
    // Shorter calls would only flicker.
    setText(this.cells.for, runs < 0.3 ? "" : elapsed(runs));
    setText(this.stateText, backAt !== null && backAt > now + 0.5 ? `${state} in ${Math.round(backAt - now)} s` : state);
  }
}

// -- the view -------------------------------------------------------------------------------------------

const TOTALS = [
  ["queued", "queued"],
  ["in_flight", "in flight"],
  ["done", "done"],
  ["failed", "failed"],
  ["functions", "functions", "function"],
  ["dependencies", "dependencies", "dependency"],
  ["constants", "constants", "constant"],
  ["resources", "resources", "resource"],
  ["shared", "shared"],
];
const RARE = new Set(["resources", "shared"]); // shown where there are any
let requestCount = 0; // on this page

class View {
  constructor(model, el) {
    this.model = model;
    this.rows = new Map();
    this.pending = new Map(); // requests that are not acknowledged: id -> {label, node, overdue}
    this.lastEvent = 0;
    this.target = null; // the requested number of workers
    this.build();
    el.append(this.root);
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
    this.cancelStop = button("Keep running", "Do not stop", () => this.confirm(false));
    this.confirmStop = button("Stop", "Yes, stop all workers", () => {
      this.confirm(false);
      request({ action: "stop" }, "stop", this.stop);
    }, "danger filled");
    this.question = createNode("span", "wpc-question", { role: "group", "aria-label": "Stop all workers?" },
      createNode("span", "", {}, "Stop all workers? Calls that run will fail."), this.confirmStop, this.cancelStop);
    this.question.hidden = true;
    this.question.addEventListener("keydown", (event) => event.key === "Escape" && this.confirm(false));
    this.controls = createNode("div", "wpc-controls", {},
      createNode("span", "wpc-label", {}, "Workers"), createNode("span", "wpc-stepper", {}, this.fewer, this.size, this.more),
      this.start, this.stop, this.question);

    this.totals = Object.fromEntries(TOTALS.map(([name]) => [name, createNode("dd")]));
    const totals = createNode("dl", "wpc-totals", {},
      ...TOTALS.map(([name, label]) => createNode("div", "", { "data-total": name }, createNode("dt", "", {}, label), this.totals[name])));

    this.notice = createNode("div", "wpc-notice", { role: "status" });
    this.notice.hidden = true;

    this.body = createNode("tbody");
    const head = createNode("tr", "", {}, ...COLUMNS.map(([label, className]) =>
      createNode("th", className, { scope: "col" }, label || createNode("span", "wpc-visually-hidden", {}, "Actions"))));
    this.noWorkers = createNode("div", "wpc-empty", {}, "No worker is running.");
    const table = createNode("div", "wpc-scroll", {}, createNode("table", "wpc-workers", { "aria-label": "Workers" }, createNode("thead", "", {}, head), this.body), this.noWorkers);

    this.filters = LEVELS.map((level, i) =>
      button(["All", "Warnings", "Errors"][i], ["All events", "Warnings and errors", "Errors only"][i], () => this.filter(level), "segment"));
    this.log = createNode("ol", "wpc-log", { role: "log", "aria-live": "polite", "aria-label": "Events", tabindex: "0" });
    this.noEvents = createNode("div", "wpc-empty", {}, "Nothing has happened.");
    const events = createNode("section", "wpc-events", {},
      createNode("div", "wpc-events-bar", {}, createNode("span", "wpc-label", {}, "Events"),
        createNode("span", "wpc-segments", { role: "group", "aria-label": "Least severity" }, ...this.filters)),
      this.log, this.noEvents);

    const header = createNode("header", "wpc-head", {},
      createNode("span", "wpc-title", {}, this.name, createNode("span", "wpc-pool-state", {}, createNode("i", "wpc-dot", { "aria-hidden": "true" }), this.stateText)),
      this.controls);
    // The static fallback for a notebook without its kernel is hidden as long as this view exists.
    const fallback = `.wpc-fallback-${String(this.model.get("frame").fallback).replace(/\W/g, "")}`;
    const hidden = createNode("style", "", {}, `${fallback}, .jp-OutputArea-child:has(${fallback}) { display: none }`);
    this.root = createNode("div", "wpc-dashboard", {}, hidden, header, totals, this.notice, table, events);
    this.filter("info");
  }

  draw() {
    const frame = this.model.get("frame");
    const { pool, workers, events } = frame;
    const active = pool.state === "running" || pool.state === "starting";
    setText(this.name, pool.name);
    setText(this.stateText, pool.state);
    setData(this.root, "pool", pool.state);
    for (const [name, many, one] of TOTALS) {
      setText(this.totals[name], count(pool[name]));
      setText(this.totals[name].previousSibling, pool[name] === 1 ? (one ?? many) : many);
      setData(this.totals[name], "zero", String(pool[name] === 0));
      if (RARE.has(name)) this.totals[name].parentNode.hidden = pool[name] === 0;
    }
    if (workers.length) this.lastCount = workers.length;
    if (this.target === workers.length || frame.notice) this.target = null;
    setText(this.size, this.target === null ? String(workers.length) : `${workers.length} → ${this.target}`);
    this.fewer.disabled = !active || (this.target ?? workers.length) <= 1;
    this.more.disabled = !active;
    this.start.hidden = active || pool.state === "stopping";
    this.start.disabled = pool.state === "gone";
    this.stop.hidden = !this.question.hidden || !this.start.hidden;
    this.stop.disabled = pool.state === "stopping";
    this.drawWorkers(workers, active);
    this.drawEvents(events);
    this.drawNotice();
    this.tick();
  }

  drawWorkers(workers, active) {
    const present = new Set(workers.map((row) => row.id));
    for (const [id, row] of this.rows) {
      if (!present.has(id)) {
        row.node.remove();
        this.rows.delete(id);
      }
    }
    let before = null;
    for (const worker of workers) {
      let row = this.rows.get(worker.id);
      if (!row) {
        row = new Row(worker.id, this.request.bind(this));
        this.rows.set(worker.id, row);
        if (before) before.after(row.node);
        else this.body.prepend(row.node);
      }
      row.draw(worker, active);
      before = row.node;
    }
    this.noWorkers.hidden = workers.length > 0;
  }

  drawEvents(events) {
    const { log } = this;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 8;
    const added = events.filter((event) => event.n > this.lastEvent);
    for (const event of added) {
      const source = event.worker ? `worker ${event.worker}` : "pool";
      log.append(
        createNode("li", "", { "data-severity": event.severity },
          createNode("time", "", { datetime: event.at, title: event.at }, timeOfDay(event.at)),
          createNode("span", "wpc-source", {}, source),
          createNode("span", "wpc-event-name", {}, createNode("i", "wpc-dot", { "aria-hidden": "true" }), event.name),
          createNode("span", "wpc-text", { title: event.text }, [event.call, event.text].filter(Boolean).join(" · ")),
          createNode("span", "wpc-visually-hidden", {}, event.severity)),
      );
      this.lastEvent = event.n;
    }
    while (log.childElementCount > KEPT_EVENTS) log.firstElementChild.remove();
    this.noEvents.hidden = log.childElementCount > 0;
    if (added.length && atEnd) log.scrollTop = log.scrollHeight;
  }

  /** Show the last error, or the requests that are queued. */
  drawNotice() {
    const overdue = [...this.pending.values()].filter((each) => each.overdue).map((each) => each.label);
    const error = this.model.get("frame").notice;
    const text = overdue.length ? `${overdue.join(", ")}: queued until the cell ends` : error;
    setData(this.notice, "kind", overdue.length ? "queued" : "error");
    setText(this.notice, text ? text[0].toUpperCase() + text.slice(1) : "");
    this.notice.hidden = !text;
  }

  tick() {
    const { clockOffset, live } = this.model.get("frame");
    if (!live && this.ticked) return; // in a saved notebook, time stands still
    this.ticked = true;
    const now = live ? seconds() - clockOffset : this.model.get("frame").now;
    for (const row of this.rows.values()) row.tick(now);
  }

  // -- requests -----------------------------------------------------------------------------------------

  request(message, label, node) {
    const id = `${Date.now().toString(36)}-${(requestCount += 1)}`;
    const entry = { label, node, overdue: false };
    entry.timer = setTimeout(() => {
      entry.overdue = true;
      this.drawNotice();
    }, ACK_TIMEOUT_MS);
    this.pending.set(id, entry);
    node.dataset.pending = "true";
    this.model.send({ id, ...message });
  }

  acknowledge() {
    for (const id of this.model.get("patch").acked ?? []) {
      const entry = this.pending.get(id);
      if (!entry) continue; // of another page
      clearTimeout(entry.timer);
      this.pending.delete(id);
      if (![...this.pending.values()].some((each) => each.node === entry.node)) delete entry.node.dataset.pending;
    }
    this.drawNotice();
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

  filter(minSeverity) {
    setData(this.log, "minSeverity", minSeverity);
    this.filters.forEach((each, i) => each.setAttribute("aria-pressed", String(LEVELS[i] === minSeverity)));
    this.log.scrollTop = this.log.scrollHeight;
  }
}

function render({ model, el }) {
  const view = new View(model, el);
  const draw = () => view.draw();
  const acknowledge = () => view.acknowledge();
  model.on("change:frame", draw);
  model.on("change:patch", acknowledge);
  const ticking = setInterval(() => document.hidden || view.tick(), TICK_MS);
  view.draw();
  requestAnimationFrame(() => (view.log.scrollTop = view.log.scrollHeight));
  return () => {
    clearInterval(ticking);
    model.off("change:frame", draw);
    model.off("change:patch", acknowledge);
    for (const { timer } of view.pending.values()) clearTimeout(timer);
  };
}

export default { initialize, render };
