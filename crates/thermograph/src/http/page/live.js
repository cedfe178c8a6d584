// The line to the server, and the state in the header.

(() => {
  const state = byId("state");
  const text = byId("state-text");
  /** How long a stall stays in the header: shorter ones cannot be read. */
  const SHOWN = 1500;
  /** Who looks elsewhere for so long is not told any more. */
  const HIDDEN = 30_000;
  const AGAIN = 3_000;
  let source = null;
  let stalledUntil = 0;
  let leaving = null;

  function show(kind, words) {
    if (state.dataset.state !== kind) {
      state.dataset.state = kind;
      announce(words);
    }
    say(text, words);
    text.title = words;
  }

  function hearLanes(told) {
    lanes.hear(told);
    const stalled = told.lanes.filter((lane) => lane.stalled);
    if (stalled.length > 0) {
      stalledUntil = performance.now() + SHOWN;
      const [first] = stalled;
      const others = stalled.length > 1 ? ` and ${plural(stalled.length - 1, "worker")} more` : "";
      show("stalled", `stalled now: ${first.handler ?? "a handler"} on ${first.thread}${others}`);
    } else if (performance.now() > stalledUntil) {
      show("live", `live; ${plural(told.lanes.length, "worker")}`);
      stalls.settle();
    }
  }

  function connect() {
    if (source) return;
    source = new EventSource(door("live"));
    const on = (name, hear) => source.addEventListener(name, (event) => hear(JSON.parse(event.data)));
    on("lanes", hearLanes);
    on("ledger", handlers.hear);
    on("stall", (stall) => {
      lanes.hearStall(stall);
      stalls.hear(stall);
    });
    on("missed", stalls.miss);
    source.addEventListener("error", lost);
  }

  async function lost() {
    show("lost", "connection lost, trying again");
    // Else the browser tries again by itself.
    if (source?.readyState !== EventSource.CLOSED) return;
    leave();
    setTimeout(connect, AGAIN);
    const stop = new AbortController();
    try {
      const answer = await fetch(door("live"), { signal: stop.signal });
      if (!answer.ok) show("lost", `connection lost, trying again: ${(await answer.text()).trim()}`);
      stop.abort();
    } catch {
      // The server is not there: that was said.
    }
  }

  function leave() {
    source?.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(leaving);
    if (document.hidden) leaving = setTimeout(leave, HIDDEN);
    else {
      connect();
      verdicts.look();
    }
  });
  document.documentElement.classList.remove("without-script");
  connect();
})();
