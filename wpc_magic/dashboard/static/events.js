// The log of events: filtered by what a person calls an error, by text and by worker. It can be paused, and a screen
// reader is told of errors only, a few at a time.

import { button, createNode, mark, setHidden, setText, timeOfDay, unseen } from "./dom.js";

const KEPT = 10_000; // events, of which the log shows the latest that fit
const SHOWN = 300;
const NEWS_MS = 3000; // how long errors are collected before they are announced
const LEVELS = ["info", "warn", "error"];
const FILTERS = [
  ["All", "All events"],
  ["Warnings", "Warnings and errors"],
  ["Errors", "Errors only"],
];

const sourceOf = ({ worker }) => (worker ? `worker ${worker}` : "pool");
const detailsOf = ({ call, text }) => [call, text].filter(Boolean).join(" · ");

function line(event) {
  const details = detailsOf(event);
  return createNode("li", "", { "data-level": event.level },
    createNode("time", "", { datetime: event.at, title: event.at }, timeOfDay(event.at)),
    createNode("span", "wpc-source", {}, sourceOf(event)),
    createNode("span", "wpc-event-name", {}, mark("wpc-dot"), event.name),
    createNode("span", "wpc-text", { title: details }, details),
    unseen(event.level));
}

export class Events {
  constructor() {
    this.all = [];
    this.last = 0; // the newest that is in `all`
    this.paused = false;
    this.news = [];
    this.chosen = { level: "info", text: "", worker: "" };
    this.buttons = FILTERS.map(([label, help], i) => button(label, help, () => this.filter({ level: LEVELS[i] }), "segment"));
    this.text = createNode("input", "wpc-field", { type: "search", placeholder: "Contains", "aria-label": "Events that contain a text" });
    this.text.addEventListener("input", () => this.filter({ text: this.text.value.trim().toLowerCase() }));
    this.worker = createNode("select", "wpc-field", { "aria-label": "Events of a worker" });
    this.worker.addEventListener("change", () => this.filter({ worker: this.worker.value }));
    this.pause = button("Pause", "Pause the log", () => this.setPaused(!this.paused));
    // Not a live region: with ten events a second it would never be silent.
    this.log = createNode("ol", "wpc-log", { "aria-label": "Events", tabindex: "0" });
    this.announcement = createNode("div", "wpc-visually-hidden", { role: "status" });
    this.empty = createNode("div", "wpc-empty");
    this.node = createNode("div", "wpc-events", {},
      createNode("div", "wpc-panel-bar", {},
        createNode("span", "wpc-segments", { role: "group", "aria-label": "Least severity" }, ...this.buttons),
        this.worker, this.text, this.pause),
      this.log, this.empty, this.announcement);
    this.drawWorkers([]);
    this.filter({});
  }

  draw({ events, workers }) {
    this.drawWorkers(workers);
    const latest = events.at(-1)?.n ?? 0;
    if (latest <= this.last) return;
    const added = events.filter((event) => event.n > this.last);
    this.last = latest;
    this.all.push(...added);
    if (this.all.length > 1.1 * KEPT) this.all.splice(0, this.all.length - KEPT);
    this.announce(added.filter((event) => event.level === "error"));
    if (this.paused) {
      this.behind += added.length;
      setText(this.pause, `Go on (${this.behind})`);
    } else {
      this.append(added.filter((event) => this.fits(event)));
    }
  }

  append(events) {
    const { log } = this;
    if (!events.length) return;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 8;
    log.append(...events.slice(-SHOWN).map(line));
    while (log.childElementCount > SHOWN) log.firstElementChild.remove();
    setHidden(this.empty, true);
    if (atEnd) this.toEnd();
  }

  drawWorkers(workers) {
    const ids = workers.map((row) => row.id).join();
    if (ids === this.ids) return;
    this.ids = ids;
    const { value } = this.worker;
    const option = (each, text) => createNode("option", "", { value: each }, text);
    this.worker.replaceChildren(option("", "All workers"), option("0", "Pool"), ...workers.map(({ id }) => option(String(id), `Worker ${id}`)));
    const stays = [...this.worker.options].some((each) => each.value === value);
    this.worker.value = stays ? value : "";
    if (!stays) this.filter({ worker: "" });
  }

  filter(changed) {
    this.chosen = { ...this.chosen, ...changed };
    this.buttons.forEach((each, i) => each.setAttribute("aria-pressed", String(LEVELS[i] === this.chosen.level)));
    this.log.replaceChildren();
    this.append(this.all.filter((event) => this.fits(event)));
    setHidden(this.empty, this.log.childElementCount > 0);
    setText(this.empty, this.all.length ? "No event fits." : "Nothing has happened.");
    this.toEnd();
  }

  fits(event) {
    const { level, text, worker } = this.chosen;
    if (LEVELS.indexOf(event.level) < LEVELS.indexOf(level) || (worker && String(event.worker) !== worker)) return false;
    return !text || `${sourceOf(event)} ${event.name} ${detailsOf(event)}`.toLowerCase().includes(text);
  }

  setPaused(paused) {
    this.paused = paused;
    this.behind = 0;
    this.pause.removeAttribute("aria-label"); // its text says enough, and changes
    setText(this.pause, paused ? "Go on" : "Pause");
    if (!paused) this.filter({});
  }

  toEnd() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  /** Announce errors in one sentence, at most once in a while. */
  announce(errors) {
    this.news.push(...errors);
    if (!this.news.length || this.timer) return;
    this.timer = setTimeout(() => {
      const latest = `${this.news.at(-1).name}, ${sourceOf(this.news.at(-1))}`;
      setText(this.announcement, this.news.length > 1 ? `${this.news.length} errors, the last: ${latest}` : latest);
      this.news = [];
      this.timer = null;
    }, NEWS_MS);
  }

  /** It has become visible: before, it could not be scrolled. */
  shown() {
    this.toEnd();
  }

  close() {
    clearTimeout(this.timer);
  }
}
