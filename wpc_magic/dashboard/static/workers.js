// The workers: a row each, and below 880 px a card each; under a row the processes that still leave its slot, what is
// to be decided before a busy worker is restarted, and what is known of a worker that is opened. On a cluster they
// stand under their hosts.

import { button, count, createNode, elapsed, mark, nameOf, setData, setHidden, setText, unseen } from "./dom.js";
import { describeWorker } from "./worker.js";

const NUMBERS = ["waiting", "done", "failed", "restarts"];
const COLUMNS = [
  ["id", "Worker"],
  ["state", "State"],
  ["pid", "PID"],
  ["call", "Running"],
  ["for", "For"],
  ["waiting", "Waiting"],
  ["done", "Done"],
  ["failed", "Failed"],
  ["restarts", "Restarts"],
  ["memory", "Memory"],
  ["cpu", "CPU"],
  ["action", ""],
];
const NUMERIC = new Set(["pid", "for", "memory", "cpu", ...NUMBERS]);
const LABELS = Object.fromEntries(COLUMNS);
const FLICKER_S = 0.3; // shorter calls would only flicker

// Roles are given in full: a row that is shown as a card is no table row to a screen reader otherwise.
function cell(name, ...children) {
  const className = `wpc-cell wpc-${name}${NUMERIC.has(name) ? " number" : ""}`;
  return createNode("td", className, { role: "cell", "data-label": LABELS[name] }, ...children);
}

function wideRow(className, ...children) {
  const all = createNode("td", "", { role: "cell", colspan: String(COLUMNS.length) }, ...children);
  return createNode("tr", `wpc-more ${className}`, { role: "row" }, all);
}

/** A process that was replaced, and has calls to finish. */
class Leaving {
  constructor(request) {
    this.text = createNode("span", "wpc-leaving-text");
    this.time = createNode("span", "wpc-leaving-time");
    this.end = button("End it", "end the call", () => {
      for (const id of this.process.call_ids) request({ action: "stop_call", text: id }, "end of a call", this.end);
    });
    this.node = wideRow("wpc-leaving", mark("wpc-dot"), this.text, this.time, this.end);
  }

  draw(process, id) {
    this.process = process;
    const what = process.call === null ? "it ends" : `it finishes ${process.call}`;
    setText(this.text, `Old process ${process.pid ?? ""} of worker ${id}: ${what}`);
    setHidden(this.end, process.call_ids.length === 0);
    const help = `end ${process.call} in the old process of worker ${id}`;
    if (this.end.title !== help) {
      this.end.title = help;
      this.end.setAttribute("aria-label", nameOf("End it", help));
    }
  }

  tick(now) {
    const { since } = this.process;
    setText(this.time, since === null || now - since < FLICKER_S ? "" : elapsed(now - since));
  }
}

class Row {
  constructor(id, request) {
    this.id = id;
    this.request = request;
    this.shown = {};
    this.leaving = new Map();
    this.ask = null;
    this.details = null;
    this.stateText = createNode("span");
    this.percent = createNode("span");
    this.bar = mark("wpc-bar");
    this.open = createNode("button", "wpc-open", { type: "button", "aria-expanded": "false", "aria-label": `Worker ${id}: its stack`, title: `Worker ${id}: its stack`, onclick: () => this.toggle() }, String(id));
    this.restart = button("Restart", `Restart worker ${id}`, () => this.askOrRestart());
    const parts = {
      state: [mark("wpc-dot"), this.stateText],
      cpu: [this.bar, this.percent],
      action: [this.restart],
    };
    this.cells = Object.fromEntries(COLUMNS.slice(1).map(([name]) => [name, cell(name, ...(parts[name] ?? []))]));
    const head = createNode("th", "wpc-cell wpc-id", { role: "rowheader", scope: "row" }, this.open);
    this.node = createNode("tr", "wpc-worker", { role: "row", "data-worker": id }, head, ...Object.values(this.cells));
  }

  /** The nodes of this worker, in order. */
  nodes() {
    return [this.node, this.ask, ...[...this.leaving.values()].map((each) => each.node), this.details?.node].filter(Boolean);
  }

  draw(row, usable) {
    this.restart.disabled = !usable || row.state === "stopped";
    if (row === this.row) return; // only what has changed is a new object
    const before = this.row ?? {};
    const changed = (name) => row[name] !== before[name];
    this.row = row;
    if (changed("state")) setData(this.node, "state", row.state);
    setData(this.node, "busy", String(row.call !== null));
    if (changed("pid")) setText(this.cells.pid, row.pid === null ? "" : String(row.pid));
    if (this.details && row.state === "ready" && (changed("pid") || changed("state"))) this.details.look(); // another process
    if (changed("call") || changed("waits")) {
      const text = row.call ?? (row.waits ? `Waits: ${row.waits}` : "");
      setText(this.cells.call, text);
      this.cells.call.title = text;
    }
    for (const name of NUMBERS) {
      if (!changed(name)) continue;
      setText(this.cells[name], count(row[name]));
      setData(this.cells[name], "zero", String(row[name] === 0));
    }
    if (changed("memory")) setText(this.cells.memory, row.memory);
    if (changed("cpu")) {
      setText(this.percent, row.cpu === null ? "" : `${row.cpu} %`);
      this.bar.style.transform = `scaleX(${Math.min(row.cpu ?? 0, 100) / 100})`;
    }
    if (this.ask && row.call === null) this.closeAsk(); // it has ended by itself; nothing is restarted unasked
    if (changed("leaving")) this.drawLeaving(row.leaving ?? []);
  }

  drawLeaving(processes) {
    const present = new Set(processes.map((each) => each.n));
    for (const [n, each] of this.leaving) {
      if (present.has(n)) continue;
      each.node.remove();
      this.leaving.delete(n);
    }
    for (const process of processes) {
      if (!this.leaving.has(process.n)) this.leaving.set(process.n, new Leaving(this.request));
      this.leaving.get(process.n).draw(process, this.id);
    }
  }

  /** Update what depends on the time. */
  tick(now) {
    const { since, back_at: backAt, state } = this.row;
    const runs = since === null ? -1 : now - since;
    setText(this.cells.for, runs < FLICKER_S ? "" : elapsed(runs));
    setText(this.stateText, backAt !== null && backAt > now + 0.5 ? `${state} in ${Math.round(backAt - now)} s` : state);
    for (const each of this.leaving.values()) each.tick(now);
  }

  // -- restart ------------------------------------------------------------------------------------------

  askOrRestart() {
    if (this.ask) return this.closeAsk(true);
    if (this.row.call === null) return this.sendRestart(true);
    const wait = button("Wait for it", `restart worker ${this.id} when its call has ended`, () => this.sendRestart(true));
    const end = button("End it", `restart worker ${this.id} now, its call fails`, () => this.sendRestart(false), "danger");
    const cancel = button("Cancel", "do not restart", () => this.closeAsk(true));
    const question = createNode("span", "wpc-question", { role: "group", "aria-label": `Restart worker ${this.id}?` },
      createNode("span", "wpc-question-text", {}, `Worker ${this.id} runs ${this.row.call}.`), wait, end, cancel);
    question.addEventListener("keydown", (event) => event.key === "Escape" && this.closeAsk(true));
    this.ask = wideRow("wpc-ask", question);
    this.node.after(this.ask);
    wait.focus(); // so that Enter does the least harm
  }

  closeAsk(focus = this.ask?.contains(document.activeElement)) {
    this.ask?.remove();
    this.ask = null;
    if (focus) this.restart.focus();
  }

  sendRestart(drain) {
    if (this.ask) this.closeAsk(true);
    this.request({ action: "restart", number: this.id, drain }, `restart of worker ${this.id}`, this.restart);
  }

  // -- its stack ----------------------------------------------------------------------------------------

  toggle() {
    const open = !this.details;
    this.open.setAttribute("aria-expanded", String(open));
    if (!open) {
      this.details.node.remove();
      this.details = null;
      return;
    }
    const text = createNode("pre", "wpc-pre wpc-stack", { tabindex: "0", "aria-label": `Stack of worker ${this.id}` }, "…");
    const rest = createNode("div", "wpc-worker-details");
    const look = () => {
      this.request({ action: "stack", number: this.id }, `stack of worker ${this.id}`, again, (reply) => setText(text, reply.stack));
      this.request({ action: "worker", number: this.id }, `look at worker ${this.id}`, again, (reply) => rest.replaceChildren(...describeWorker(this.id, reply.worker)));
    };
    const again = button("Look again", `the stack of worker ${this.id}`, look);
    this.details = { node: wideRow("wpc-details", createNode("div", "wpc-details-bar", {}, createNode("span", "wpc-label", {}, `What worker ${this.id} does now`), again), text, rest) };
    this.details.look = look;
    this.nodes().at(-2).after(this.details.node);
    look();
  }
}

/** The line above the workers of one machine. */
class Host {
  constructor(name) {
    this.counts = createNode("span", "wpc-host-counts");
    const head = createNode("th", "", { role: "rowheader", scope: "rowgroup", colspan: String(COLUMNS.length) }, name || "On no machine yet", this.counts);
    this.node = createNode("tr", "wpc-host", { role: "row", "data-host": name }, head);
  }

  draw(workers) {
    const busy = workers.filter((each) => each.call !== null).length;
    const cpu = workers.map((each) => each.cpu ?? null).filter((each) => each !== null);
    const used = cpu.length ? ` · ${cpu.reduce((sum, each) => sum + each)} % CPU` : "";
    setText(this.counts, `${workers.length} worker${workers.length === 1 ? "" : "s"} · ${busy} busy${used}`);
  }
}

/** The workers by host; one group without a name if all are on this machine. */
function byHost(workers) {
  const groups = new Map();
  if (!workers.some((each) => each.host)) return groups.set("", workers);
  const names = [...new Set(workers.map((each) => each.host ?? ""))];
  names.sort((a, b) => (a === "") - (b === "") || a.localeCompare(b, undefined, { numeric: true }));
  for (const name of names) groups.set(name, workers.filter((each) => (each.host ?? "") === name));
  return groups;
}

export class Workers {
  /** `request(message, label, button, onReply)` sends a click. */
  constructor(request) {
    this.request = request;
    this.rows = new Map();
    this.hosts = new Map();
    this.body = createNode("tbody", "", { role: "rowgroup" });
    const head = createNode("tr", "", { role: "row" }, ...COLUMNS.map(([name, label]) =>
      createNode("th", `wpc-${name}${NUMERIC.has(name) ? " number" : ""}`, { role: "columnheader", scope: "col" }, label || unseen("Actions"))));
    const columns = createNode("colgroup", "", {}, ...COLUMNS.map(([name]) => createNode("col", `wpc-col-${name}`)));
    this.empty = createNode("div", "wpc-empty", {}, "No worker is running.");
    this.table = createNode("table", "wpc-workers", { role: "table", "aria-label": "Workers" }, columns, createNode("thead", "", { role: "rowgroup" }, head), this.body);
    this.node = createNode("div", "wpc-workers-area", {}, this.table, this.empty);
  }

  draw(workers, usable) {
    const present = new Set(workers.map((row) => row.id));
    for (const [id, row] of this.rows) {
      if (present.has(id)) continue;
      for (const node of row.nodes()) node.remove();
      this.rows.delete(id);
    }
    const focused = this.node.contains(document.activeElement) ? document.activeElement : null;
    const groups = byHost(workers);
    const named = groups.size > 1 || !groups.has("");
    for (const [name, host] of this.hosts) {
      if (named && groups.has(name)) continue;
      host.node.remove();
      this.hosts.delete(name);
    }
    let before = null;
    for (const [name, group] of groups) {
      if (named) {
        if (!this.hosts.has(name)) this.hosts.set(name, new Host(name));
        const host = this.hosts.get(name);
        host.draw(group);
        before = this.place([host.node], before);
      }
      for (const worker of group) {
        if (!this.rows.has(worker.id)) this.rows.set(worker.id, new Row(worker.id, this.request));
        const row = this.rows.get(worker.id);
        row.draw(worker, usable);
        before = this.place(row.nodes(), before);
      }
    }
    // A node that is moved loses the focus.
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
    setHidden(this.table, workers.length === 0);
    setHidden(this.empty, workers.length > 0);
  }

  /** Put nodes behind another one, unless they are there; return the last. */
  place(nodes, before) {
    for (const node of nodes) {
      if (!node.isConnected || node.previousSibling !== before) {
        if (before) before.after(node);
        else this.body.prepend(node);
      }
      before = node;
    }
    return before;
  }

  tick(now) {
    for (const row of this.rows.values()) row.tick(now);
  }
}
