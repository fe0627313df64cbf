// The page's copy of the last frame, which all views of the page share.
//
//   kernel ── patch ──> receive: apply ──> model's "frame" ──> each view draws

import { seconds } from "./dom.js";

export const KEPT_EVENTS = 200; // as many as view.py keeps

function apply(frame, patch) {
  const functions = patch.functions ?? frame.functions;
  if (patch.full) return { ...frame, ...patch.full, functions, seq: patch.seq };
  const removed = new Set(patch.removed ?? []);
  const rows = new Map(frame.workers.filter((row) => !removed.has(row.id)).map((row) => [row.id, row]));
  for (const changed of patch.workers ?? []) {
    rows.set(changed.id, { ...rows.get(changed.id), ...changed });
  }
  return {
    ...frame,
    functions,
    seq: patch.seq,
    notice: patch.notice ?? frame.notice,
    pool: { ...frame.pool, ...patch.pool },
    workers: patch.workers || patch.removed ? [...rows.values()].sort((a, b) => a.id - b.id) : frame.workers,
    events: patch.events ? [...frame.events, ...patch.events].slice(-KEPT_EVENTS) : frame.events,
  };
}

export function initialize({ model }) {
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

/** The kernel's time; in a saved notebook, that of the last frame. */
export function kernelTime(frame) {
  return frame.live ? seconds() - frame.clockOffset : frame.now;
}
