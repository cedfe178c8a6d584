// Workers as lanes: what each did in the last half minute.

const lanes = (() => {
  const home = byId("lanes");
  const legend = byId("legend");
  const hint = byId("hint");
  const SECONDS = 30;
  const lanes = new Map();
  /** Stalls of the window by number. */
  const stalls = new Map();
  let now = 0;
  let isDue = false;
  let drawnAt = 0;

  function make(told) {
    const canvas = h("canvas", { role: "img" });
    const does = h("span", { class: "does" });
    const who = h("span", { class: "who" }, `${told.thread} `, h("span", { class: "note" }, String(told.thread_id)));
    const element = h("div", { class: "lane" }, who, canvas, does);
    const lane = { ...told, canvas, does, element, samples: [] };
    canvas.addEventListener("pointermove", (event) => point(lane, event));
    canvas.addEventListener("pointerleave", () => { hint.hidden = true; });
    return lane;
  }

  function hear({ at, covers_ms: covers, lanes: told }) {
    now = at;
    if (lanes.size === 0 && told.length > 0) home.replaceChildren();
    for (const [id, lane] of lanes) {
      if (told.some((one) => one.id === id && one.thread_id === lane.thread_id)) continue;
      lane.element.remove();
      lanes.delete(id);
    }
    for (const one of told) {
      if (!lanes.has(one.id)) {
        lanes.set(one.id, make(one));
        const sorted = [...lanes.values()].sort((a, b) => a.id - b.id);
        arrange(home, sorted.map((lane) => lane.element));
      }
      const lane = lanes.get(one.id);
      if (one.busy > 0 || one.polling) lane.samples.push({ ...one, from: at - covers, to: at });
      lane.samples = lane.samples.filter((sample) => sample.to > at - SECONDS * 1000);
      describe(lane, one);
    }
    for (const [id, stall] of stalls) {
      if (stall.to < at - SECONDS * 1000) stalls.delete(id);
    }
    schedule();
  }

  /** What it does now, in words. */
  function describe(lane, one) {
    const does = one.stalled
      ? `stalled for ${millis(one.age_ms)}: ${one.handler}`
      : one.busy >= 0.005 && one.handler
        ? `${percent(one.busy)} busy: ${one.handler}`
        : "idle";
    // Words that change ten times a second cannot be read; those of a stall stay for a second, too.
    if (now - (lane.saidAt ?? 0) < 1000 && !(one.stalled && !lane.saidStall)) return;
    lane.saidAt = now;
    lane.saidStall = one.stalled;
    if (one.stalled) lane.does.dataset.stalled = "";
    else delete lane.does.dataset.stalled;
    say(lane.does, does);
    lane.does.title = does;
    lane.canvas.setAttribute("aria-label", `${lane.thread}: ${does}`);
  }

  function hearStall(stall) {
    if (stall.class === "preempted") return;
    const from = stall.began * 1000;
    stalls.set(stall.id, { thread: stall.thread_id, name: nameOf(stall), from, to: from + stall.elapsed_ms, length: stall.elapsed_ms });
  }

  const at = (width, time) => width * (1 - (now - time) / (SECONDS * 1000));

  function draw() {
    isDue = false;
    drawnAt = now;
    const [red, grey] = [theme.colour("--bad"), theme.colour("--soft")];
    const shown = new Set();
    for (const lane of lanes.values()) {
      const { canvas } = lane;
      const scale = devicePixelRatio || 1;
      const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale].map(Math.round);
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, width, height);
      const bar = (from, to, share, colour) => {
        context.fillStyle = colour;
        const left = Math.max(0, at(width, from));
        const tall = Math.max(1, share * height);
        context.fillRect(left, height - tall, Math.max(scale, at(width, to) - left), tall);
      };
      for (const { from, to, busy, handler, stalled } of lane.samples) {
        if (handler) shown.add(handler);
        bar(from, to, busy, stalled ? red : handler ? hues.of(handler) : grey);
      }
      for (const { thread, from, to } of stalls.values()) {
        if (thread === lane.thread_id) bar(from, to, 1, red);
      }
    }
    key(shown);
  }

  function key(shown) {
    const names = hues.names().filter((name) => shown.has(name));
    const wanted = ["a stall", ...names].join("\n") + theme.isDark();
    if (legend.dataset.shown === wanted || names.length === 0) return;
    legend.dataset.shown = wanted;
    const entry = (name, colour) => {
      const swatch = h("i", { "aria-hidden": "true" });
      swatch.style.background = colour;
      return h("li", {}, swatch, ...breakable(name));
    };
    legend.replaceChildren(entry("a stall, of whichever handler", theme.colour("--bad")), ...names.map((name) => entry(name, hues.of(name))));
  }

  /** Who wants no motion has a step a second. */
  function schedule() {
    if (isDue || (isCalm.matches && now - drawnAt < 1000)) return;
    isDue = true;
    requestAnimationFrame(draw);
  }

  function point(lane, event) {
    const box = lane.canvas.getBoundingClientRect();
    const time = now - (1 - (event.clientX - box.left) / box.width) * SECONDS * 1000;
    const ago = `${((now - time) / 1000).toFixed(1)} s ago`;
    const near = 1000 * SECONDS / box.width * 2;
    const stall = [...stalls.values()].find(
      (one) => one.thread === lane.thread_id && one.from - near <= time && time <= one.to + near,
    );
    const sample = lane.samples.find(({ from, to }) => from <= time && time <= to);
    const what = stall
      ? `${stall.name} stalled for ${millis(stall.length)}`
      : sample ? `${sample.handler ?? "nobody"}, ${percent(sample.busy)} busy` : "idle";
    hint.textContent = `${ago}: ${what}`;
    hint.hidden = false;
    const room = document.documentElement.clientWidth - hint.offsetWidth - 8;
    hint.style.left = `${Math.max(8, Math.min(event.pageX + 12, room))}px`;
    hint.style.top = `${event.pageY + 14}px`;
  }

  theme.onChange(() => { if (now) draw(); });
  return { hear, hearStall };
})();
