// Verdicts: who is ill, why, where, and what to try.

const verdicts = (() => {
  const list = byId("verdicts-list");
  const note = byId("verdicts-note");
  const fresh = byId("verdicts-fresh");
  const progress = byId("verdicts-progress");
  const EVERY = 15_000;
  /** By handler: what is open stays as it is while it is read. */
  const items = new Map();
  let isFresh = false;

  function numbers({ numbers: n }) {
    const all = Object.values(n.stalls).reduce((sum, count) => sum + count, 0);
    return factsOf([
      ["requests", whole(n.requests)],
      ["workers kept busy", digits(n.worker_share)],
      ["longest poll", millis(n.longest_ms)],
      ["stalls", `${all - n.stalls.preempted - (n.stalls.in_place ?? 0)}${n.stalls.preempted ? ` and ${n.stalls.preempted} of the machine’s` : ""}`],
      ["time in stalls", millis(n.stalled_ms)],
      ["holds now", n.holding.workers ? `${plural(n.holding.workers, "worker")}, for ${millis(n.holding.longest_ms)}` : null],
      ["harm to others", millis(n.harm_ms)],
      ["CPU time", millis(n.cpu_ms)],
      ["on a processor", percent(n.cpu_share)],
      ["in system calls", percent(n.blocked_share)],
    ]);
  }

  /** A lock that is waited for, and its probable holder. */
  function heldBy({ lock, holder, at, evidence, share }) {
    if (!holder) return `waits for a ${lock}; no holder found`;
    return `waits for a ${lock} held by ${holder}${at ? ` in ${at}` : ""} (${percent(share)}; evidence: ${evidence})`;
  }

  function cause({ what, share, syscall, at, held_by: locks, leaves, stack, no_stack: missing, try: remedy }) {
    const where = at ? ["at ", h("span", { class: "code" }, ...breakable(`${functionOf(at)} (${place(at)})`))] : [];
    return h(
      "div",
      { class: "cause" },
      h("p", {}, h("strong", {}, `${percent(share)} ${what}`), syscall ? `, in ${syscall}` : ""),
      where.length ? h("p", {}, ...where) : null,
      ...locks.map((lock) => h("p", {}, ...breakable(heldBy(lock)))),
      missing ? h("p", { class: "note" }, missing) : null,
      leaves.length && !syscall
        ? h("p", { class: "note" }, ...breakable(leaves.map((leaf) => `${functionOf(leaf)} (${percent(leaf.share)})`).join(", ")))
        : null,
      stackOf(stack),
      h("p", { class: "try" }, `Try ${remedy}`),
    );
  }

  /** A blocking pool that is exhausted: it makes no verdict, and stands above them. */
  function poolOf({ title, summary, threads: all, places, waiting, unknown, try: remedy }) {
    const threads = (count) => (Math.abs(count - Math.round(count)) < 0.05 ? Math.round(count) : count.toFixed(1));
    const where = places.map(({ at, from, threads: count, syscall, handlers, stack }) => h(
      "div",
      {},
      h(
        "p",
        {},
        `${threads(count)} of ${all} threads in `,
        h("span", { class: "code" }, ...breakable(`${functionOf(at)} (${place(at)})`)),
        syscall ? `, in ${syscall}` : ", computing",
        from ? `, from ${functionOf(from)} (${place(from)})` : "",
        handlers.length ? `, for ${handlers.join(", ")}` : "",
      ),
      stackOf(stack),
    ));
    const waits = waiting.map(({ method, route, tasks, waits_for: what }) => h("p", {}, ...breakable(`${plural(tasks, "task")} awaiting work that runs or is queued: ${method} ${route}, ${what}`)));
    return h(
      "div",
      { class: "cause" },
      h("p", {}, h("strong", {}, title), `: ${summary}`),
      ...where,
      ...waits,
      ...unknown.map((text) => h("p", { class: "note" }, ...breakable(text))),
      h("p", { class: "try" }, `Try ${remedy}`),
    );
  }

  function fill(item, verdict) {
    const { why, badge, body } = item.parts;
    badge.className = `badge ${verdict.verdict}`;
    say(badge, verdict.verdict);
    say(why, verdict.summary);
    if (item.element.open && body.childElementCount > 0) return;
    const causes = verdict.causes.length
      ? verdict.causes.map(cause)
      : [h("p", { class: "note" }, verdict.verdict === "hot" ? "A diagnosis of 10 s captures CPU time and tells where." : "Nothing to mend.")];
    body.replaceChildren(numbers(verdict), ...causes);
  }

  function show({ seconds, verdicts: all, victims: delayed, pools, notes }) {
    const counts = ["blocking", "hot", "healthy"].map((word) => [word, all.filter((v) => v.verdict === word).length]);
    const told = counts.filter(([, count]) => count > 0).map(([word, count]) => `${count} ${word}`);
    if (pools.length) told.push(`blocking pool ${pools.some((pool) => pool.lasts) ? "is" : "was"} exhausted`);
    say(note, `${told.join(", ")}${told.length ? ", " : ""}over ${Math.round(seconds)} s${isFresh ? ", with CPU time" : ""}`);
    for (const name of items.keys()) {
      if (!all.some((verdict) => nameOf(verdict) === name)) items.delete(name);
    }
    const elements = all.map((verdict) => {
      const name = nameOf(verdict);
      if (!items.has(name)) items.set(name, itemOf(verdict));
      fill(items.get(name), verdict);
      return items.get(name).element;
    });
    const remarks = notes.map((text) => h("p", { class: "note" }, ...breakable(text)));
    if (elements.length === 0) remarks.unshift(h("p", { class: "empty" }, "No handler was called yet."));
    arrange(list, [...pools.map(poolOf), ...elements, ...remarks]);
    victims.hear(delayed);
    if (told.length) announce(`Verdicts: ${told.join(", ")}`);
  }

  async function look() {
    if (document.hidden || !progress.hidden) return;
    try {
      const diagnosis = await ask("verdicts", "diagnosis?format=json");
      if (!progress.hidden || isFresh) return;
      show(diagnosis);
    } catch (error) {
      say(note, error.message);
    }
  }

  fresh.addEventListener("click", async () => {
    const began = performance.now();
    fresh.disabled = true;
    progress.hidden = false;
    const ticks = setInterval(() => { progress.value = (performance.now() - began) / 1000; }, 250);
    try {
      const diagnosis = await ask("diagnosis", "diagnosis?format=json&seconds=10");
      isFresh = true;
      show(diagnosis);
      // It stays for a while: it says more than the next one will.
      setTimeout(() => { isFresh = false; }, 60_000);
    } catch (error) {
      say(note, error.message);
    }
    clearInterval(ticks);
    progress.hidden = true;
    fresh.disabled = false;
  });

  setInterval(look, EVERY);
  look();
  return { look };
})();
