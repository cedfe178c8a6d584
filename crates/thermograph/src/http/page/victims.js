// Victims: whose requests waited while a stall held a worker, and whose stall it was.

const victims = (() => {
  const section = byId("victims");
  const body = byId("victims-rows");
  const head = byId("victims-head");
  const mean = (part) => ({ latency, requests }) => millis(latency[part] / Math.max(1, requests));
  const COLUMNS = [
    ["handler", (victim) => `${nameOf(victim)}${victim.arrival === "measured" || victim.requests === 0 ? "" : " (about)"}`],
    ["p90", ({ latency_ms }) => millis(latency_ms.p90)],
    ["p99", ({ latency_ms }) => millis(latency_ms.p99)],
    ["waiting", mean("waiting_ms")],
    ["on CPU", mean("cpu_ms")],
    ["blocked", mean("blocked_ms")],
    ["awaiting", mean("awaiting_ms")],
    ["unknown", mean("unknown_ms")],
    ["delayed", ({ delayed_ms }) => millis(delayed_ms)],
    ["by", ({ from, delayed_ms }) => from.map((by) => `${nameOf(by)} (${percent(by.ms / delayed_ms)})`).join(", ")],
  ];

  head.append(...COLUMNS.map(([title]) => h("th", { role: "columnheader", scope: "col" }, title)));

  function lineOf(victim) {
    const cells = COLUMNS.map(([title, of]) => h("td", { role: "cell", "data-label": title }, of(victim)));
    return h("tr", { role: "row" }, ...cells);
  }

  function hear(all) {
    section.hidden = all.length === 0;
    const isMeasured = all.every(({ arrival, requests }) => arrival === "measured" || requests === 0);
    say(byId("victims-note"), `time from ${isMeasured ? "arrival" : "arrival, where that is measured,"} to the response head; parts: mean of a request; delayed: all requests`);
    body.replaceChildren(...all.map(lineOf));
  }

  return { hear };
})();
