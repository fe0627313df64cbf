// The button that stops what a card shows. It is drawn as soon as the kernel has been told that this page is there,
// and removed by the kernel when there is nothing left to stop.

import { Outbox } from "./outbox.js";

const QUEUED_AFTER_MS = 1500; // a click that has changed nothing by then waits behind a cell

/** An outbox of a model, and what closes it. */
function outboxOf(model) {
  const outbox = new Outbox((message) => model.send(message));
  const acknowledge = () => outbox.acknowledge(model.get("acked"));
  model.on("change:acked", acknowledge);
  return [outbox, () => {
    model.off("change:acked", acknowledge);
    outbox.close();
  }];
}

function initialize({ model }) {
  const [outbox, close] = outboxOf(model);
  outbox.post({ action: "ready" });
  return close;
}

function render({ model, el }) {
  const [outbox, close] = outboxOf(model);
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Stop";
  button.title = `Stop ${model.get("label")}`;
  button.setAttribute("aria-label", button.title);
  const note = document.createElement("span");
  note.setAttribute("role", "status");
  el.classList.add("wpc-stop");
  el.replaceChildren(button, note);

  let timer = 0;
  button.addEventListener("click", () => {
    button.disabled = true;
    outbox.post({ action: "stop" });
    timer = setTimeout(() => {
      note.textContent = "queued until the cell ends that runs now";
    }, QUEUED_AFTER_MS);
  });
  const leave = () => { // the kernel is gone, and with it the call
    el.replaceChildren();
    close();
  };
  model.on("comm_live_update", leave);
  // A page that shuts the kernel down itself may let go of it before it hears that it has ended.
  const ended = model.widget_manager?.kernel?.disposed; // a signal of JupyterLab
  ended?.connect(leave);
  return () => {
    clearTimeout(timer);
    close();
    model.off("comm_live_update", leave);
    ended?.disconnect(leave);
  };
}

export default { initialize, render };
