// What goes on: maps, and cells and calls that take their time, each with a bar that says how far it is. Each can be stopped.

import { button, count, createNode, elapsed, setHidden, setText } from "./dom.js";

const perSecond = (rate) => (rate < 10 ? Number(rate.toPrecision(2)) : count(Math.round(rate)));
const joined = (parts) => parts.filter(Boolean).join(" · ");

/** A name, a bar, how far it is in words, and a button. */
class Row {
  constructor(name, label, stop) {
    this.bar = createNode("progress", "wpc-extent", { "aria-label": label });
    this.text = createNode("span", "wpc-label");
    this.failed = createNode("span", "wpc-bad");
    this.stop = button("Stop", `Stop ${label}`, () => stop(`stop of ${label}`, this.stop), "danger");
    this.node = createNode("li", "wpc-going", {}, createNode("strong", "", {}, name), this.bar, this.text, this.failed, this.stop);
  }

  fill(ended, total) {
    if (total === null || ended === null) this.bar.removeAttribute("value"); // it is not known how far it is
    else [this.bar.max, this.bar.value] = [total > 0 ? total : 1, Math.min(ended, total)];
  }
}

class MapRow extends Row {
  constructor({ number, function: name }, request) {
    super(name, `map ${number} over ${name}`, (label, node) => request({ action: "stop_map", number }, label, node));
    this.node.dataset.map = number;
  }

  draw({ done, failed, total, rate, left_s: left }) {
    const ended = done + failed;
    this.fill(ended, total);
    const items = total === null ? `${count(ended)} items` : `${count(ended)} of ${count(total)} items`;
    setText(this.text, joined([items, rate !== null && `${perSecond(rate)} a second`, left !== null && `${elapsed(left)} left`]));
    setText(this.failed, failed ? `${count(failed)} failed` : "");
  }
}

class CallRow extends Row {
  constructor({ id, name }, request) {
    const label = name.startsWith("Cell In[") ? name : `${name} #${id.replace(/^call-/, "")}`;
    super(label, label, (what, node) => request({ action: "stop_call", text: id }, what, node));
    this.node.dataset.call = id;
  }

  draw(row) {
    this.row = row;
    this.fill(row.done, row.total);
  }

  tick(now) {
    const { worker, since, done, total, text } = this.row;
    const far = done !== null && (total === null ? count(done) : `${count(done)} of ${count(total)}`);
    setText(this.text, worker ? joined([`on worker ${worker} for ${elapsed(now - since)}`, far, text]) : "queued");
    setHidden(this.bar, worker === 0);
  }
}

/** A list that keeps one row for each thing; `keyOf` tells them apart. */
class Rows {
  constructor(label, keyOf, make) {
    Object.assign(this, { keyOf, make, rows: new Map() });
    this.node = createNode("ul", "wpc-list", { "aria-label": label });
  }

  draw(things) {
    const present = new Set(things.map(this.keyOf));
    for (const [key, row] of this.rows) {
      if (present.has(key)) continue;
      row.node.remove();
      this.rows.delete(key);
    }
    for (const thing of things) {
      const key = this.keyOf(thing);
      if (!this.rows.has(key)) {
        this.rows.set(key, this.make(thing));
        this.node.append(this.rows.get(key).node);
      }
      this.rows.get(key).draw(thing);
    }
    setHidden(this.node, things.length === 0);
  }
}

export class Running {
  constructor(request) {
    this.maps = new Rows("Maps", (map) => map.number, (map) => new MapRow(map, request));
    this.calls = new Rows("Cells, and calls that take their time", (call) => call.id, (call) => new CallRow(call, request));
    this.empty = createNode("div", "wpc-empty", {}, "No map goes on, no cell in the background, and no call for more than a second.");
    this.node = createNode("div", "wpc-running", {}, this.maps.node, this.calls.node, this.empty);
  }

  draw({ running = { maps: [], calls: [] } }) {
    this.maps.draw(running.maps);
    this.calls.draw(running.calls);
    setHidden(this.empty, running.maps.length + running.calls.length > 0);
  }

  tick(now) {
    for (const row of this.calls.rows.values()) row.tick(now);
  }
}
