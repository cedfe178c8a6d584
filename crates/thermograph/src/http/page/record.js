// Record: a capture from a button to its picture.

const record = (() => {
  const form = byId("record-form");
  const seconds = byId("record-seconds");
  const route = byId("record-route");
  const kinds = byId("record-kinds");
  const running = byId("record-running");
  const progress = byId("record-progress");
  const says = byId("record-says");
  const force = byId("record-force");
  const KINDS = [
    ["cpu", "CPU", "what computes"],
    ["wall", "Wall clock", "what workers do in polls, computing or waiting"],
    ["spans", "Spans", "time in the program’s own spans"],
    ["heap", "Heap", "what is allocated"],
    ["stalls", "Stalls", "polls over the threshold"],
  ];
  /** Captures that the server keeps in memory where it cannot write them. */
  const UNSAVED = 4;
  let current = null;

  for (const [kind, title, what] of KINDS) {
    kinds.append(h("button", { type: "button", id: `record-${kind}`, title: what, onclick: () => take(kind, title) }, title));
  }
  form.addEventListener("submit", (event) => event.preventDefault());

  async function take(kind, title, isForced = false) {
    if (!form.reportValidity() || current) return;
    const last = Number(seconds.value);
    const query = new URLSearchParams({ kind, seconds: String(last) });
    if (route.value) query.set("route", route.value);
    if (isForced) query.set("force", "true");
    current = new AbortController();
    force.hidden = true;
    running.hidden = false;
    progress.max = last;
    progress.value = 0;
    for (const button of kinds.children) button.disabled = true;
    byId("record-cancel").focus();
    const what = `${title}${route.value ? ` of ${route.value}` : ""}`;
    tell(says, `Recording ${what}, ${last} s.`);
    const began = performance.now();
    const ticks = setInterval(() => {
      const passed = (performance.now() - began) / 1000;
      progress.value = Math.min(passed, last);
      if (passed > last) say(says, `Drawing ${what}.`);
    }, 100);
    try {
      const capture = await ask(title, `captures?${query}`, { method: "POST", signal: current.signal });
      const dropped = capture.dropped ? `, ${capture.dropped} dropped` : "";
      const where = capture.not_saved
        ? `not saved: ${capture.not_saved}; in memory until ${plural(UNSAVED, "newer one")} cannot be saved either`
        : `saved as ${capture.files.join(", ")}`;
      tell(says, `${what}: ${plural(capture.samples, "sample")}${dropped}, ${where}`, Boolean(capture.not_saved));
      captures.open(capture);
      captures.look();
    } catch (error) {
      tell(says, error.name === "AbortError" ? "Cancelled: nothing was saved." : error.message, error.name !== "AbortError");
      force.hidden = error.status !== 409 || !error.message.includes("force=true");
      force.onclick = () => take(kind, title, true);
      byId(`record-${kind}`).disabled = false;
      (force.hidden ? byId(`record-${kind}`) : force).focus();
    }
    clearInterval(ticks);
    running.hidden = true;
    current = null;
    for (const button of kinds.children) button.disabled = false;
  }

  const cancel = () => current?.abort();
  byId("record-cancel").addEventListener("click", cancel);
  byId("record").addEventListener("keydown", (event) => { if (event.key === "Escape") cancel(); });

  /** Handlers that can be chosen: those that were seen. */
  function know(routes) {
    const there = new Set([...route.options].map((option) => option.value));
    const fresh = [...new Set(routes)].filter((one) => !there.has(one)).sort();
    route.append(...fresh.map((one) => h("option", { value: one }, one)));
  }

  function choose(one) {
    know([one]);
    route.value = one;
    byId("record-cpu").focus();
    tell(says, `What is recorded now is of ${one} only.`);
  }

  return { know, choose };
})();
