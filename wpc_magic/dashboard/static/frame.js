// The page's copy of the last frame, which all views of the page share.
//
//   kernel ── patch ──> receive: apply ──> model's "frame" ──> each view draws

import { Outbox } from "../../notebook/static/outbox.js";
import { seconds } from "./dom.js";

export const KEPT_EVENTS = 200; // as many as view.py keeps

const KEPT_BARS = 20_000;
const KEPT_S = 600;

/** Return a timeline with its bars as objects, in seconds of the epoch, and those of the timeline before it. */
function timelineOf({ base, functions, bars, ...rest }, before) {
  const lanes = rest.lanes ?? before?.lanes ?? [];
  const workers = new Map(lanes.map((lane) => [lane.n, lane.worker]));
  const added = bars.map(([lane, start, took, name, calls, failed, cancelled, busy, number]) => ({
    lane, worker: workers.get(lane), from: base + start, to: base + start + took, name: functions[name],
    calls, failed, cancelled, busy: took ? busy / took : 1, number,
  }));
  const oldest = base - KEPT_S;
  return { lanes, bars: [...(before?.bars ?? []).filter((bar) => bar.to > oldest), ...added].slice(-KEPT_BARS) };
}

const KEPT_SAMPLES = 300;
const KEPT_MEMORY = 60;

/** Return the load with the samples that came since; a worker with a new process begins anew. */
function loadOf(load, more) {
  const before = new Map(load.memory.map((row) => [row.worker, row]));
  const memory = more.memory.map((row) => {
    const last = before.get(row.worker);
    return last?.pid === row.pid ? { ...row, bytes: [...last.bytes, ...row.bytes].slice(-KEPT_MEMORY) } : row;
  });
  return { samples: [...load.samples, ...more.samples].slice(-KEPT_SAMPLES), memory, blocks: more.blocks };
}

/** Return the data of panels: what is sent only while somebody looks at it. */
function panelsOf(frame, patch) {
  const { timeline_more: newBars, load_more: newSamples } = patch;
  return {
    functions: patch.functions ?? frame.functions,
    running: patch.running ?? frame.running,
    hot: patch.hot ?? frame.hot,
    timeline: patch.timeline ? timelineOf(patch.timeline) : newBars ? timelineOf(newBars, frame.timeline) : frame.timeline,
    load: patch.load ?? (newSamples && frame.load ? loadOf(frame.load, newSamples) : frame.load),
  };
}

function apply(frame, patch) {
  const panels = panelsOf(frame, patch);
  if (patch.full) return { ...frame, ...patch.full, ...panels, seq: patch.seq };
  const removed = new Set(patch.removed ?? []);
  const rows = new Map(frame.workers.filter((row) => !removed.has(row.id)).map((row) => [row.id, row]));
  for (const changed of patch.workers ?? []) {
    rows.set(changed.id, { ...rows.get(changed.id), ...changed });
  }
  return {
    ...frame,
    ...panels,
    seq: patch.seq,
    notice: patch.notice ?? frame.notice,
    pool: { ...frame.pool, ...patch.pool },
    workers: patch.workers || patch.removed ? [...rows.values()].sort((a, b) => a.id - b.id) : frame.workers,
    events: patch.events ? [...frame.events, ...patch.events].slice(-KEPT_EVENTS) : frame.events,
  };
}

export function initialize({ model }) {
  const outbox = new Outbox((message) => model.send(message));
  let asked = false; // for a full frame, which has not come
  const sync = () => {
    if (asked) return;
    asked = true;
    outbox.post({ action: "sync", seq: model.get("frame").seq }, () => (asked = false));
  };
  // The offset of this clock from the kernel's: the minimum seen, since delays only increase it.
  const first = model.get("frame");
  model.set("frame", { ...first, clockOffset: seconds() - first.now, live: false });

  const receive = () => {
    const frame = model.get("frame");
    const patch = model.get("patch");
    outbox.acknowledge(patch.acked);
    if (!patch.seq || (patch.seq <= frame.seq && !patch.full)) return;
    if (!patch.full && patch.seq !== frame.seq + 1) return sync(); // a patch was missed
    const clockOffset = Math.min(frame.clockOffset, seconds() - patch.now);
    model.set("frame", { ...apply(frame, patch), clockOffset, live: true });
  };
  model.on("change:patch", receive);
  sync(); // with the number of the initial frame, in case it is outdated
  return () => {
    model.off("change:patch", receive);
    outbox.close();
  };
}

/** The kernel's time; in a saved notebook, that of the last frame. */
export function kernelTime(frame) {
  return frame.live ? seconds() - frame.clockOffset : frame.now;
}
