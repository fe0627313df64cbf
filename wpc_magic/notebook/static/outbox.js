// What a page sends to the kernel arrives, once, and in order: see page_messages.py.
//
//   post ──> {from, nth, …} ──> kernel ──> acknowledge {from: nth}
//              └── again, and again, less and less often, until then

const FIRST_MS = 250;
const LONGEST_MS = 30_000;
const MOST = 16; // for some minutes: a kernel that still does not answer has them, or is gone

let count = 0; // on this page
export const newId = () => `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 6)}-${(count += 1)}`;

export class Outbox {
  /** `send` sends one message. */
  constructor(send) {
    this.send = (message) => {
      try {
        send(message);
      } catch {
        // the kernel is gone, and what is asked of it
      }
    };
    this.id = newId();
    this.nth = 0;
    this.pending = new Map(); // by number: what was not acknowledged, and whom to tell
    this.timer = 0;
  }

  post(message, onTaken = () => {}) {
    const numbered = { ...message, from: this.id, nth: (this.nth += 1) };
    this.pending.set(this.nth, { numbered, onTaken });
    this.send(numbered);
    this.repeatIn(FIRST_MS, MOST);
  }

  /** All in order: the kernel takes none before those that were sent before it. */
  repeatIn(ms, times) {
    clearTimeout(this.timer);
    if (!times) return;
    this.timer = setTimeout(() => {
      for (const { numbered } of this.pending.values()) this.send(numbered);
      this.repeatIn(Math.min(2 * ms, LONGEST_MS), times - 1);
    }, ms);
  }

  /** Take what the kernel says: of each sender, how many messages have arrived. */
  acknowledge(acked) {
    const taken = acked?.[this.id] ?? 0;
    for (const [nth, { onTaken }] of this.pending) {
      if (nth > taken) break;
      this.pending.delete(nth);
      onTaken();
    }
    if (!this.pending.size) clearTimeout(this.timer);
  }

  close() {
    clearTimeout(this.timer);
  }
}
