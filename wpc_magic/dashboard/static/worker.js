// A worker, opened: its last calls, its log, and what its process runs with.

import { listOfCalls } from "./call.js";
import { createNode, timeOfDay } from "./dom.js";

const label = (text) => createNode("div", "wpc-label", {}, text);

function log(id, lines) {
  const text = lines.map(({ call, text: line }) => [call, line].filter(Boolean).join(" │ ")).join("\n");
  return createNode("pre", "wpc-pre wpc-worker-log", { tabindex: "0", role: "group", "aria-label": `What worker ${id} has printed last` }, text);
}

/** Return the nodes for what the kernel knows of a worker. */
export function describeWorker(id, { facts, calls, output, events }) {
  const happened = createNode("ul", "wpc-calls", {}, ...events.map((event) =>
    createNode("li", "", { "data-state": "done" }, [timeOfDay(event.at), event.call, event.text].filter(Boolean).join(" · "))));
  const known = createNode("dl", "wpc-facts", {}, ...facts.map(([name, text]) =>
    createNode("div", "", { "data-fact": name }, createNode("dt", "", {}, name), createNode("dd", "", {}, text))));
  return [
    label(calls.length ? "Its last calls" : "None of its last calls is kept."), listOfCalls(calls, (call) => `${call.function} #${call.number}`),
    label(output.length ? "What it has printed last" : "It has printed nothing."), ...(output.length ? [log(id, output)] : []),
    label(events.length ? "What has happened to it" : "Nothing has happened to it."), happened,
    label(facts.length ? "What it runs with" : "It has no process, or does not say what it runs with."), known,
  ];
}
