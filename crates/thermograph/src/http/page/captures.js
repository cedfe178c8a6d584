// Saved captures: open, delete, compare.

const captures = (() => {
  const list = byId("captures");
  const note = byId("captures-note");
  const says = byId("captures-says");
  const compare = byId("compare");
  const compareNote = byId("compare-note");
  const TITLES = { cpu: "CPU time", wall: "Wall-clock time in polls", spans: "Time in spans", heap: "Memory in use", allocs: "Memory allocated", stalls: "Stalls" };
  let ticked = [];

  const has = (capture, end) => capture.forms.includes(end.slice(1));
  const pathOf = (capture, end) => `captures/${encodeURIComponent(capture.name)}${end}`;
  const ends = (capture) => [".pb.gz", ".folded", ".json.gz", ".svg"].filter((end) => has(capture, end));

  /** `20261125T143000Z` as people write it, in their own time. */
  function when(time) {
    const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(time);
    if (!parts) return time;
    const [year, month, day, hour, minute, second] = parts.slice(1).map(Number);
    return new Date(Date.UTC(year, month - 1, day, hour, minute, second)).toLocaleString();
  }

  const titleOf = (capture) => [TITLES[capture.kind] ?? capture.kind, capture.handler].filter(Boolean).join(", ");

  function open(capture) {
    const links = ends(capture).map((end) => [`${capture.name}${end}`, pathOf(capture, end)]);
    if (has(capture, ".svg")) picture.show(titleOf(capture), pathOf(capture, ".svg"), links);
  }

  function remover(capture) {
    const button = h("button", { type: "button", "aria-label": `Delete ${capture.name}` }, "Delete");
    const calm = () => {
      button.textContent = "Delete";
      delete button.dataset.sure;
    };
    button.addEventListener("click", async () => {
      if (!("sure" in button.dataset)) {
        button.dataset.sure = "";
        button.textContent = "Really delete?";
        return;
      }
      try {
        await ask("delete", `captures/${encodeURIComponent(capture.name)}`, { method: "DELETE" });
        tell(says, `${capture.name} is deleted.`);
      } catch (error) {
        tell(says, error.message, true);
      }
      await look();
      list.querySelector("input:enabled, button")?.focus();
    });
    button.addEventListener("blur", calm);
    button.addEventListener("keydown", (event) => { if (event.key === "Escape") calm(); });
    return button;
  }

  function row(capture) {
    const tick = h("input", { type: "checkbox", "aria-label": `Compare ${capture.name}`, value: capture.name });
    // Of a timeline or a comparison there are no stacks to compare.
    tick.disabled = !has(capture, ".pb.gz");
    tick.checked = ticked.some((one) => one.name === capture.name);
    tick.addEventListener("change", () => {
      ticked = ticked.filter((one) => one.name !== capture.name);
      if (tick.checked) ticked.push(capture);
      choose();
    });
    const links = ends(capture).filter((end) => end !== ".svg");
    return h(
      "li",
      {},
      h("label", {}, tick, h("span", { class: "badge" }, capture.kind)),
      h("span", { class: "name", title: capture.name }, ...breakable(capture.handler ?? "every handler")),
      h("span", { class: "note" }, [when(capture.time), size(capture.bytes), capture.not_saved ? "in memory only" : null].filter(Boolean).join(", ")),
      h(
        "span",
        { class: "tools" },
        has(capture, ".svg")
          ? h("button", { type: "button", "aria-label": `Open ${capture.name}`, onclick: () => open(capture) }, "Open")
          : null,
        ...links.map((end) => h("a", { href: door(pathOf(capture, end)), download: true, "aria-label": `${capture.name}${end}` }, end)),
        remover(capture),
      ),
    );
  }

  function choose() {
    const isPair = ticked.length === 2 && ticked[0].kind === ticked[1].kind;
    compare.disabled = !isPair;
    say(compareNote, isPair
      ? `what grew from ${when(earlier().time)} to ${when(later().time)} is red, what shrank blue`
      : ticked.length === 2 ? `${ticked[0].kind} and ${ticked[1].kind} cannot be compared: tick two of a kind` : "tick two of a kind");
  }

  const inOrder = () => [...ticked].sort((a, b) => (a.name < b.name ? -1 : 1));
  const earlier = () => inOrder()[0];
  const later = () => inOrder()[1];

  compare.addEventListener("click", () => {
    const query = new URLSearchParams({ before: earlier().name, after: later().name });
    const links = [earlier(), later()].flatMap((one) => ends(one).filter((end) => end === ".svg").map((end) => [one.name, pathOf(one, end)]));
    picture.show(`${TITLES[earlier().kind] ?? earlier().kind}, before and after: red grew, blue shrank`, `diff?${query}`, links);
  });

  async function look() {
    try {
      const { folder, max_captures: most, captures: all, unreadable } = await ask("captures", "captures");
      ticked = ticked.filter((one) => all.some((capture) => capture.name === one.name));
      list.replaceChildren(...all.map(row));
      const where = folder === "." ? "where the service runs" : `in ${folder}`;
      const saved = all.filter((one) => !one.not_saved).length;
      const inMemory = all.length > saved ? `; ${all.length - saved} in memory only` : "";
      say(note, unreadable ? `${unreadable}${inMemory}` : `${saved ? `${saved} of at most ${most}` : "none yet; they are saved"} ${where}${inMemory}`);
      choose();
    } catch (error) {
      say(note, error.message);
    }
  }

  look();
  return { look, open };
})();
