// The page's half of the dashboard: keeps a copy of the last frame, draws it, and sends clicks.
//
//   kernel ── patch ──> initialize: apply ──> model's "frame" ──> each view: Dashboard.draw
//   view ── click {id, do, number} ──> kernel ── patch.taken [id] ──> the view's mark goes away
//
// All that comes from the kernel is put in as text. Nodes are kept and changed where they differ, so that
// focus, scrolling and selection stay.

const KEPT_EVENTS = 200; // as many as view.py keeps
const PATIENCE_MS = 500; // a click without an answer for so long is queued behind a cell
const TICK_MS = 100;
const LEVELS = ["info", "warn", "error"];

// -- the copy of the frame ------------------------------------------------------------------------------

function apply(frame, patch) {
  if (patch.whole) return { ...frame, ...patch.whole, seq: patch.seq };
  const gone = new Set(patch.gone ?? []);
  const rows = new Map(frame.workers.filter((row) => !gone.has(row.id)).map((row) => [row.id, row]));
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
  const hello = () => model.send({ do: "hello", seq: model.get("frame").seq });
  // How much this clock is ahead of the kernel's: the least that was seen, as messages only ever come late.
  const first = model.get("frame");
  model.set("frame", { ...first, ahead: seconds() - first.now, live: false });

  const take = () => {
    const frame = model.get("frame");
    const patch = model.get("patch");
    if (!patch.seq || (patch.seq <= frame.seq && !patch.whole)) return;
    if (!patch.whole && patch.seq !== frame.seq + 1) return hello(); // something was missed
    const ahead = Math.min(frame.ahead, seconds() - patch.now);
    model.set("frame", { ...apply(frame, patch), ahead, live: true });
  };
  model.on("change:patch", take);
  hello(); // with the number of what this page was given, in case it is not the last
}

// -- words ----------------------------------------------------------------------------------------------

const grouped = new Intl.NumberFormat("en");
const count = (number) => grouped.format(number);

function elapsed(s) {
  if (s < 9.95) return `${Math.max(s, 0).toFixed(1)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  const minutes = Math.floor(Math.round(s) / 60);
  const two = (n) => String(n).padStart(2, "0");
  if (minutes < 60) return `${minutes} min ${two(Math.round(s) % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

function clock(stamp) {
  const at = new Date(stamp);
  return Number.isNaN(at.getTime()) ? stamp : at.toLocaleTimeString("en-GB");
}

// -- nodes ----------------------------------------------------------------------------------------------

function make(tag, className = "", attributes = {}, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else node.setAttribute(name, value);
  }
  node.append(...children); // strings become text
  return node;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function mark(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

function button(label, help, onclick, className = "") {
  return make("button", `wpc-button ${className}`, { type: "button", "aria-label": help, title: help, onclick }, label);
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
  constructor(id, ask) {
    this.cells = {};
    const cell = (name, className = "") => (this.cells[name] = make("td", className));
    this.word = make("span");
    this.percent = make("span");
    this.bar = make("i", "wpc-bar", { "aria-hidden": "true" });
    this.restart = button("Restart", `Restart worker ${id}`, () =>
      ask({ do: "restart", number: id }, `restart of worker ${id}`, this.restart),
    );
    this.node = make("tr", "wpc-worker", { "data-worker": id });
    this.node.append(
      make("th", "", { scope: "row" }, String(id)),
      make("td", "wpc-state", {}, make("i", "wpc-dot", { "aria-hidden": "true" }), this.word),
      cell("pid", "number quiet"),
      cell("call", "wpc-call"),
      cell("for", "number wpc-for"),
      ...NUMBERS.map((name) => cell(name, `number wpc-${name}`)),
      cell("memory", "number"),
      make("td", "number wpc-cpu", {}, this.bar, this.percent),
      make("td", "action", {}, this.restart),
    );
  }

  draw(row, usable) {
    this.row = row;
    mark(this.node, "state", row.state);
    mark(this.node, "busy", String(row.call !== null));
    say(this.cells.pid, row.pid === null ? "" : String(row.pid));
    say(this.cells.call, row.call ?? "");
    if (this.cells.call.title !== (row.call ?? "")) this.cells.call.title = row.call ?? "";
    for (const name of NUMBERS) {
      say(this.cells[name], count(row[name]));
      mark(this.cells[name], "zero", String(row[name] === 0));
    }
    say(this.cells.memory, row.memory);
    say(this.percent, row.cpu === null ? "" : `${row.cpu} %`);
    const width = `${Math.min(row.cpu ?? 0, 100)}%`;
    if (this.bar.style.width !== width) this.bar.style.width = width;
    this.restart.disabled = !usable || row.state === "stopped";
  }

  /** Draw what passes by itself. */
  tick(now) {
    const { since, back_at: backAt, state } = this.row;
    const runs = since === null ? -1 : now - since;
    // Calls shorter than this would only flicker.
    say(this.cells.for, runs < 0.3 ? "" : elapsed(runs));
    say(this.word, backAt !== null && backAt > now + 0.5 ? `${state} in ${Math.round(backAt - now)} s` : state);
  }
}

// -- the whole ------------------------------------------------------------------------------------------

const TOTALS = [
  ["queued", "queued"],
  ["in_flight", "in flight"],
  ["done", "done"],
  ["failed", "failed"],
  ["functions", "functions", "function"],
  ["dependencies", "dependencies", "dependency"],
  ["constants", "constants", "constant"],
];
let asked = 0; // requests of this page

class View {
  constructor(model, el) {
    this.model = model;
    this.rows = new Map();
    this.waiting = new Map(); // requests without an answer: id -> {label, node, late}
    this.lastEvent = 0;
    this.target = null; // how many workers were asked for
    this.build();
    el.append(this.root);
  }

  build() {
    const ask = this.ask.bind(this);
    this.name = make("span", "wpc-name");
    this.stateWord = make("span");
    this.fewer = button("−", "One worker fewer", () => this.scale(-1), "square");
    this.size = make("output", "wpc-size", { "aria-label": "Number of workers" });
    this.more = button("+", "One worker more", () => this.scale(+1), "square");
    this.start = button("Start", "Start the workers", () => ask({ do: "start", number: this.before ?? 0 }, "start", this.start));
    this.stop = button("Stop", "Stop all workers", () => this.confirm(true), "danger");
    this.keep = button("Keep running", "Do not stop", () => this.confirm(false));
    this.really = button("Stop", "Yes, stop all workers", () => {
      this.confirm(false);
      ask({ do: "stop" }, "stop", this.stop);
    }, "danger filled");
    this.question = make("span", "wpc-question", { role: "group", "aria-label": "Stop all workers?" },
      make("span", "", {}, "Stop all workers? Calls that run will fail."), this.really, this.keep);
    this.question.hidden = true;
    this.question.addEventListener("keydown", (event) => event.key === "Escape" && this.confirm(false));
    this.controls = make("div", "wpc-controls", {},
      make("span", "wpc-label", {}, "Workers"), make("span", "wpc-stepper", {}, this.fewer, this.size, this.more),
      this.start, this.stop, this.question);

    this.totals = Object.fromEntries(TOTALS.map(([name]) => [name, make("dd")]));
    const totals = make("dl", "wpc-totals", {},
      ...TOTALS.map(([name, label]) => make("div", "", { "data-total": name }, make("dt", "", {}, label), this.totals[name])));

    this.line = make("div", "wpc-notice", { role: "status" });
    this.line.hidden = true;

    this.body = make("tbody");
    const head = make("tr", "", {}, ...COLUMNS.map(([label, className]) =>
      make("th", className, { scope: "col" }, label || make("span", "wpc-unseen", {}, "Actions"))));
    this.nobody = make("div", "wpc-empty", {}, "No worker is running.");
    const table = make("div", "wpc-scroll", {}, make("table", "wpc-workers", { "aria-label": "Workers" }, make("thead", "", {}, head), this.body), this.nobody);

    this.filters = LEVELS.map((level, i) =>
      button(["All", "Warnings", "Errors"][i], ["All events", "Warnings and errors", "Errors only"][i], () => this.filter(level), "segment"));
    this.log = make("ol", "wpc-log", { role: "log", "aria-live": "polite", "aria-label": "Events", tabindex: "0" });
    this.silence = make("div", "wpc-empty", {}, "Nothing has happened.");
    const events = make("section", "wpc-events", {},
      make("div", "wpc-bar-of", {}, make("span", "wpc-label", {}, "Events"),
        make("span", "wpc-segments", { role: "group", "aria-label": "Least severity" }, ...this.filters)),
      this.log, this.silence);

    const head1 = make("header", "wpc-head", {},
      make("span", "wpc-title", {}, this.name, make("span", "wpc-pool-state", {}, make("i", "wpc-dot", { "aria-hidden": "true" }), this.stateWord)),
      this.controls);
    // What is kept for a notebook without its kernel is out of sight as long as this is here.
    const still = `.wpc-still-${String(this.model.get("frame").still).replace(/\W/g, "")}`;
    const hidden = make("style", "", {}, `${still}, .jp-OutputArea-child:has(${still}) { display: none }`);
    this.root = make("div", "wpc-dashboard", {}, hidden, head1, totals, this.line, table, events);
    this.filter("info");
  }

  draw() {
    const frame = this.model.get("frame");
    const { pool, workers, events } = frame;
    const gone = pool.state === "gone";
    const active = pool.state === "running" || pool.state === "starting";
    say(this.name, pool.name);
    say(this.stateWord, pool.state);
    mark(this.root, "pool", pool.state);
    for (const [name, many, one] of TOTALS) {
      say(this.totals[name], count(pool[name]));
      say(this.totals[name].previousSibling, pool[name] === 1 ? (one ?? many) : many);
      mark(this.totals[name], "zero", String(pool[name] === 0));
    }
    if (workers.length) this.before = workers.length;
    if (this.target === workers.length || frame.notice) this.target = null;
    say(this.size, this.target === null ? String(workers.length) : `${workers.length} → ${this.target}`);
    this.fewer.disabled = !active || (this.target ?? workers.length) <= 1;
    this.more.disabled = !active;
    this.start.hidden = active || pool.state === "stopping";
    this.start.disabled = gone;
    this.stop.hidden = !this.question.hidden || !this.start.hidden;
    this.stop.disabled = pool.state === "stopping";
    this.drawWorkers(workers, active);
    this.drawEvents(events);
    this.drawNotice();
    this.tick();
  }

  drawWorkers(workers, active) {
    const here = new Set(workers.map((row) => row.id));
    for (const [id, row] of this.rows) {
      if (!here.has(id)) {
        row.node.remove();
        this.rows.delete(id);
      }
    }
    let before = null;
    for (const worker of workers) {
      let row = this.rows.get(worker.id);
      if (!row) {
        row = new Row(worker.id, this.ask.bind(this));
        this.rows.set(worker.id, row);
        if (before) before.after(row.node);
        else this.body.prepend(row.node);
      }
      row.draw(worker, active);
      before = row.node;
    }
    this.nobody.hidden = workers.length > 0;
  }

  drawEvents(events) {
    const { log } = this;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 8;
    const fresh = events.filter((event) => event.n > this.lastEvent);
    for (const event of fresh) {
      const where = event.worker ? `worker ${event.worker}` : "pool";
      log.append(
        make("li", "", { "data-severity": event.severity },
          make("time", "", { datetime: event.at, title: event.at }, clock(event.at)),
          make("span", "wpc-where", {}, where),
          make("span", "wpc-what", {}, make("i", "wpc-dot", { "aria-hidden": "true" }), event.name),
          make("span", "wpc-text", { title: event.text }, [event.call, event.text].filter(Boolean).join(" · ")),
          make("span", "wpc-unseen", {}, event.severity)),
      );
      this.lastEvent = event.n;
    }
    while (log.childElementCount > KEPT_EVENTS) log.firstElementChild.remove();
    this.silence.hidden = log.childElementCount > 0;
    if (fresh.length && atEnd) log.scrollTop = log.scrollHeight;
  }

  /** Show what went wrong, or what waits. */
  drawNotice() {
    const late = [...this.waiting.values()].filter((each) => each.late).map((each) => each.label);
    const wrong = this.model.get("frame").notice;
    const text = late.length ? `${late.join(", ")}: queued until the cell ends` : wrong;
    mark(this.line, "kind", late.length ? "late" : "wrong");
    say(this.line, text ? text[0].toUpperCase() + text.slice(1) : "");
    this.line.hidden = !text;
  }

  tick() {
    const { ahead, live } = this.model.get("frame");
    if (!live && this.ticked) return; // of a saved notebook, nothing passes
    this.ticked = true;
    const now = live ? seconds() - ahead : this.model.get("frame").now;
    for (const row of this.rows.values()) row.tick(now);
  }

  // -- what is clicked ----------------------------------------------------------------------------------

  ask(request, label, node) {
    const id = `${Date.now().toString(36)}-${(asked += 1)}`;
    const entry = { label, node, late: false };
    entry.timer = setTimeout(() => {
      entry.late = true;
      this.drawNotice();
    }, PATIENCE_MS);
    this.waiting.set(id, entry);
    node.dataset.waiting = "true";
    this.model.send({ id, ...request });
  }

  taken() {
    for (const id of this.model.get("patch").taken ?? []) {
      const entry = this.waiting.get(id);
      if (!entry) continue; // another page's
      clearTimeout(entry.timer);
      this.waiting.delete(id);
      if (![...this.waiting.values()].some((each) => each.node === entry.node)) delete entry.node.dataset.waiting;
    }
    this.drawNotice();
  }

  scale(by) {
    const workers = this.model.get("frame").workers.length;
    this.target = Math.max((this.target ?? workers) + by, 1);
    this.ask({ do: "scale", number: this.target }, `${this.target} workers`, by > 0 ? this.more : this.fewer);
    this.draw();
  }

  confirm(open) {
    this.question.hidden = !open;
    this.stop.hidden = open;
    (open ? this.keep : this.stop).focus(); // what harms least is what Enter does
  }

  filter(least) {
    mark(this.log, "least", least);
    this.filters.forEach((each, i) => each.setAttribute("aria-pressed", String(LEVELS[i] === least)));
    this.log.scrollTop = this.log.scrollHeight;
  }
}

function render({ model, el }) {
  const view = new View(model, el);
  const draw = () => view.draw();
  const taken = () => view.taken();
  model.on("change:frame", draw);
  model.on("change:patch", taken);
  const ticking = setInterval(() => document.hidden || view.tick(), TICK_MS);
  view.draw();
  requestAnimationFrame(() => (view.log.scrollTop = view.log.scrollHeight));
  return () => {
    clearInterval(ticking);
    model.off("change:frame", draw);
    model.off("change:patch", taken);
    for (const { timer } of view.waiting.values()) clearTimeout(timer);
  };
}

export default { initialize, render };
