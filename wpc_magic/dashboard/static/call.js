// A call, opened: what is known of it, and what can be done about it.

import { button, bytes, createNode, duration, timeOfDay } from "./dom.js";

function times({ queued_at: queued, sent_at: sent, began_at: began, ended_at: ended }) {
  const precise = (at) => `${timeOfDay(at * 1000)}.${String(Math.floor((at % 1) * 1000)).padStart(3, "0")}`;
  return [
    ["Queued", precise(queued)],
    ["Sent", sent === null ? "never" : `${precise(sent)}, after ${duration(sent - queued) || "0 s"}`],
    ["Began", began === null ? "never" : precise(began)],
    ["Ended", began === null ? precise(ended) : `${precise(ended)}, after ${duration(ended - began)}`],
  ];
}

/** Return a list of calls that have ended; `nameOf` and `placeOf` return what tells a call from the others. */
export function listOfCalls(calls, nameOf, placeOf = () => "") {
  return createNode("ul", "wpc-calls", {}, ...calls.map((call) => {
    const text = [nameOf(call), timeOfDay(call.ended_at * 1000), placeOf(call), duration(call.ran_s), call.state.replace("_", " "), call.arguments, call.error];
    return createNode("li", "", { "data-state": call.state }, text.filter(Boolean).join(" · "));
  }));
}

/** Return the nodes for a call that has ended; null: it is not kept. */
export function describeEnded(call) {
  if (!call) return [createNode("div", "wpc-label", {}, "It is not kept any more.")];
  const facts = [
    ["State", call.state.replace("_", " ")],
    ["Worker", call.worker === null ? "" : `${call.worker}, process ${call.pid}`],
    ["Version", call.version ? String(call.version) : ""],
    ["Items", call.items ? `${call.items}${call.failed_items ? `, of which ${call.failed_items} have failed` : ""}` : ""],
    ["Arguments", [call.arguments, bytes(call.bytes_in)].filter(Boolean).join(", ")],
    ["Value", bytes(call.bytes_out)],
    ["Error", call.error],
    ...times(call),
  ];
  const list = createNode("dl", "wpc-facts", {}, ...facts.filter(([, text]) => text).map(([label, text]) =>
    createNode("div", "", { "data-fact": label }, createNode("dt", "", {}, label), createNode("dd", "", {}, text))));
  const name = createNode("strong", "", {}, `${call.function} #${call.number}`);
  if (!call.error) return [name, list];
  const command = `%wpc_debug #${call.number}`;
  const copy = button("Copy", `Copy ${command}`, async () => {
    await navigator.clipboard?.writeText(command);
    copy.textContent = "Copied";
  });
  return [name, createNode("code", "wpc-command", {}, command), copy, list];
}

/** Return the nodes for a call that runs. */
export function describeRunning(bar, request) {
  const stop = button("Stop call", `Stop call ${bar.name} #${bar.number}`, () => request({ action: "stop_call", text: `call-${bar.number}` }, `stop of ${bar.name} #${bar.number}`, stop), "danger");
  return [createNode("strong", "", {}, `${bar.name} #${bar.number}`), createNode("span", "wpc-label", {}, `runs on worker ${bar.worker} since ${timeOfDay(bar.from * 1000)}`), stop];
}
