// The button that stops what a card shows. It is drawn as soon as the kernel has been told that this page is there,
// and removed by the kernel when there is nothing left to stop.

const QUEUED_AFTER_MS = 1500; // a click that has changed nothing by then waits behind a cell

// The first message may come before the page has a subshell, and then waits behind a cell that runs; the next does not.
const READY_AT_MS = [0, 250, 1000, 3000];

function initialize({ model }) {
  const timers = READY_AT_MS.map((ms) => setTimeout(() => model.send({ action: "ready" }), ms));
  return () => timers.forEach(clearTimeout);
}

function render({ model, el }) {
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
    model.send({ action: "stop" });
    timer = setTimeout(() => {
      note.textContent = "queued until the cell ends that runs now";
    }, QUEUED_AFTER_MS);
  });
  const leave = () => el.replaceChildren(); // the kernel is gone, and with it the call
  model.on("comm_live_update", leave);
  // A page that shuts the kernel down itself may let go of it before it hears that it has ended.
  const ended = model.widget_manager?.kernel?.disposed; // a signal of JupyterLab
  ended?.connect(leave);
  return () => {
    clearTimeout(timer);
    model.off("comm_live_update", leave);
    ended?.disconnect(leave);
  };
}

export default { initialize, render };
