// Stalls as they happen: each place in the code once, with its newest stack.

const stalls = (() => {
  const list = byId("stalls-list");
  const note = byId("stalls-note");
  /** Most places that are kept; the one that was quiet for longest goes. */
  const PLACES = 40;
  const places = new Map();
  /** Stalls that last, by number, with their place. */
  const lasting = new Map();
  /** Numbers of those that were counted, the newest. */
  const counted = new Set();
  const COUNTED = 2000;
  let isDue = false;
  let missed = 0;

  const standpoint = (stall) => stall.stack.find((frame) => frame.own) ?? stall.stack.find((frame) => frame.function.includes("::")) ?? null;

  function keyOf(stall) {
    // Where the machine did not run it says nothing of the code.
    if (stall.class === "preempted") return `${nameOf(stall)}\npreempted`;
    return [nameOf(stall), stall.class, stall.syscall, standpoint(stall)?.function].join("\n");
  }

  function hear(stall) {
    const before = lasting.get(stall.id);
    // What was asked for may come after what was told, and know less.
    if (!before && !stall.ended && counted.has(stall.id)) return;
    const key = keyOf(stall);
    if (before && before !== key) leave(before, stall.id);
    if (places.size === 0) list.replaceChildren();
    if (!places.has(key)) {
      places.set(key, { ...itemOf(stall), count: 0, longest: 0 });
      list.prepend(places.get(key).element);
    }
    const one = places.get(key);
    if (!counted.has(stall.id)) {
      one.count += 1;
      counted.add(stall.id);
      if (counted.size > COUNTED) counted.delete(counted.values().next().value);
    }
    if (stall.id >= (one.newest?.id ?? 0)) one.newest = stall;
    one.heard = performance.now();
    one.longest = Math.max(one.longest, stall.elapsed_ms);
    if (stall.ended) lasting.delete(stall.id);
    else lasting.set(stall.id, key);
    bound();
    if (stall.class !== "preempted") announce(`${nameOf(stall)} stalls`);
    renderSoon();
  }

  function renderSoon() {
    if (isDue) return;
    isDue = true;
    setTimeout(render, 250);
  }

  /** No worker stalls: where the end of one was missed, it has ended all the same. */
  function settle() {
    if (lasting.size === 0) return;
    lasting.clear();
    renderSoon();
  }

  /** It is known better by now where it stands: it was counted elsewhere. */
  function leave(key, id) {
    const one = places.get(key);
    if (!one) return;
    counted.delete(id);
    one.count -= 1;
    if (one.count > 0 || one.newest.id !== id) return;
    one.element.remove();
    places.delete(key);
  }

  function bound() {
    if (places.size <= PLACES) return;
    const [key, one] = [...places].reduce((a, b) => (a[1].heard <= b[1].heard ? a : b));
    one.element.remove();
    places.delete(key);
    for (const [id, of] of lasting) {
      if (of === key) lasting.delete(id);
    }
  }

  function render() {
    isDue = false;
    const now = new Set(lasting.values());
    for (const [key, one] of places) show(one, now.has(key));
    const total = [...places.values()].reduce((sum, one) => sum + one.count, 0);
    say(note, `each place once; ${plural(total, "stall")} so far${missed ? `, ${missed} events missed` : ""}`);
  }

  /** The probable holder of a lock, its place and the evidence. */
  function holder({ thread, method, route, at, evidence }) {
    const name = method ? `${method} ${route}` : thread;
    return `${name}${at ? ` in ${functionOf(at)} (${place(at)})` : ""}: ${evidence}`;
  }

  function show({ parts, newest, count, longest, element }, isNow) {
    const { class: kind, syscall, elapsed_ms: elapsed } = newest;
    parts.badge.className = `badge ${kind}`;
    say(parts.badge, kind);
    const at = kind === "preempted" ? null : standpoint(newest);
    const what = { cpu: "computes", blocked: "waits", preempted: "was not run by the machine", unknown: "stalls" }[kind];
    const lasts = isNow ? `stalls now, for ${millis(elapsed)} so far` : `last ${millis(elapsed)}`;
    say(parts.why, [
      `${what}${syscall ? ` in ${syscall}` : ""}`,
      at ? `at ${functionOf(at)} (${place(at)})` : null,
      count > 1 ? `${count} times, longest ${millis(longest)}` : "once",
      lasts,
    ].filter(Boolean).join("; "));
    element.classList.toggle("now", isNow);
    // What is read stays.
    if (element.open && parts.body.childElementCount > 0) return;
    const began = new Date(newest.began * 1000);
    parts.body.replaceChildren(
      factsOf([
        ["began", began.toLocaleTimeString()],
        ["lasted", millis(elapsed)],
        ["ran", millis(newest.run_ms)],
        ["waited for a processor", millis(newest.queued_ms)],
        ["thread", `${newest.thread} ${newest.thread_id}`],
        ["request", newest.request_id],
        ["lock", newest.lock ? `${newest.lock.kind} at ${newest.lock.address}` : null],
        ["held by", newest.lock?.holder ? holder(newest.lock.holder) : null],
      ]),
      stackOf(newest.stack),
    );
  }

  /** Those of the last minutes, to begin with. */
  ask("stalls", "stalls").then(
    ({ stalls: newest }) => newest.reverse().forEach(hear),
    (error) => say(note, error.message),
  );
  return { hear, settle, miss: (count) => { missed += count; } };
})();
