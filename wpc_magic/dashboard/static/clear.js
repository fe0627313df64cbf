// The button that cancels what is queued, which is there while something is, and asks.

import { button, count, createNode, setHidden, setText } from "./dom.js";

export class ClearQueue {
  constructor(request) {
    this.clear = button("Clear queue", "Cancel the calls that are queued: clear queue", () => this.ask(true));
    this.text = createNode("span");
    this.yes = button("Cancel them", "cancel the queued calls", () => {
      this.ask(false);
      request({ action: "clear" }, "cancelling of queued calls", this.clear);
    }, "danger filled");
    this.no = button("Keep them", "do not cancel the queued calls", () => this.ask(false));
    this.question = createNode("span", "wpc-question", { role: "group", "aria-label": "Cancel the queued calls?" }, this.text, this.yes, this.no);
    this.question.addEventListener("keydown", (event) => event.key === "Escape" && this.ask(false));
    this.node = createNode("span", "wpc-clear", {}, this.clear, this.question);
    setHidden(this.question, true);
  }

  ask(open) {
    setHidden(this.question, !open);
    setHidden(this.clear, open);
    (open ? this.no : this.clear).focus(); // so that Enter does the least harm
  }

  draw({ queued }) {
    setText(this.text, `Cancel ${queued === 1 ? "the queued call" : `the ${count(queued)} queued calls`}? What runs goes on.`);
    setHidden(this.node, queued === 0);
    if (queued > 0) return;
    setHidden(this.question, true); // there is nothing to cancel any more
    setHidden(this.clear, false);
  }
}
