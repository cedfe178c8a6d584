// Handlers by the worker time that they take.

const handlers = (() => {
  const head = byId("handlers-head");
  const body = byId("handlers-rows");
  const SPARKS = 60;
  const COLUMNS = [
    { title: "handler", of: ({ row }) => nameOf(row), show: null, says: "method and matched path" },
    { title: "workers", of: ({ row }) => row.window.workers, show: digits, says: "workers kept busy on average" },
    { title: "last minute", of: ({ row }) => row.now?.workers ?? 0, show: null, says: "workers kept busy, second by second", isSpark: true },
    { title: "requests/s", of: ({ row }) => row.window.requests_per_second, show: digits, says: "requests answered a second" },
    { title: "in flight", of: ({ row }) => row.in_flight, show: whole, says: "requests on their way now" },
    { title: "p99", of: ({ row }) => row.window.p99_ms, show: millis, says: "time from arrival (or else from the first poll) to the response head that all but one in a hundred kept" },
    { title: "longest poll", of: ({ row }) => row.window.longest_ms, show: millis, says: "the longest time that a worker was held", isIll: (value, { threshold }) => value >= threshold },
    { title: "stalls", of: ({ row }) => row.window.stalls, show: (value, { row }) => whole(value) + holds(row), says: "polls over the threshold, ended or not", isIll: (value) => value > 0 },
    { title: "harm", of: ({ row }) => row.window.harm_ms, show: millis, says: "how long requests and tasks waited for a worker that a stall held" },
  ];
  /** Workers that the handler's stalls hold now. */
  function holds({ holding }) {
    if (!holding.workers) return "";
    return `, holds ${holding.workers === 1 ? "a worker" : plural(holding.workers, "worker")} now, ${millis(holding.longest_ms)}`;
  }

  const rows = new Map();
  let sorted = { column: COLUMNS[1], down: true };
  let threshold = Infinity;

  for (const column of COLUMNS) {
    const button = h("button", { type: "button", class: "plain", title: `${column.says}; sorts` }, column.title);
    button.addEventListener("click", () => {
      sorted = { column, down: sorted.column === column ? !sorted.down : column !== COLUMNS[0] };
      order();
    });
    column.head = h("th", { role: "columnheader", scope: "col" }, button);
    head.append(column.head);
  }
  head.addEventListener("keydown", (event) => move(event, [...head.querySelectorAll("button")], "ArrowLeft", "ArrowRight"));
  body.addEventListener("keydown", (event) => move(event, [...body.querySelectorAll("button")], "ArrowUp", "ArrowDown"));

  function move(event, stops, back, on) {
    const index = stops.indexOf(document.activeElement);
    const to = { [back]: index - 1, [on]: index + 1, Home: 0, End: stops.length - 1 }[event.key];
    if (to === undefined || index < 0) return;
    event.preventDefault();
    stops[Math.max(0, Math.min(stops.length - 1, to))].focus();
  }

  function make(row) {
    const cells = COLUMNS.map((column, index) => {
      if (index > 0) return h("td", { role: "cell", "data-label": column.title, class: column.isSpark ? "over" : null });
      const choose = h("button", { type: "button", class: "plain name", title: "choose it for a recording" }, ...breakable(nameOf(row)));
      choose.addEventListener("click", () => record.choose(row.route));
      return h("td", { role: "cell" }, choose);
    });
    const spark = s("svg", { class: "spark", viewBox: `0 0 ${SPARKS - 1} 1`, preserveAspectRatio: "none", role: "img" }, s("path", { class: "fill" }), s("path"));
    cells[2].append(spark);
    return { row, cells, spark, past: [], element: h("tr", { role: "row" }, ...cells) };
  }

  function line({ spark, past }) {
    // What keeps a tenth of a worker busy is not drawn as if it were all of them.
    const top = Math.max(0.1, ...past);
    const from = SPARKS - past.length;
    const points = past.map((value, index) => `${from + index},${(1 - (value / top) * 0.94 - 0.03).toFixed(3)}`);
    const [fill, path] = spark.children;
    path.setAttribute("d", `M${points.join("L")}`);
    fill.setAttribute("d", `M${from},1L${points.join("L")}L${SPARKS - 1},1Z`);
    spark.setAttribute("aria-label", `now ${digits(past.at(-1))} workers, at most ${digits(Math.max(...past))}`);
  }

  function hear(sheet) {
    threshold = sheet.threshold_ms;
    byId("handlers-empty").hidden = sheet.handlers.length > 0;
    const over = `over ${Math.round(sheet.window_seconds)} s; a poll of ${millis(threshold)} and more is a stall`;
    say(byId("handlers-note"), sheet.overflowed ? `${over}; ${plural(sheet.overflowed, "request")} of further handlers in (other)` : over);
    const names = new Set(sheet.handlers.map(nameOf));
    for (const [name, one] of rows) {
      if (names.has(name)) continue;
      one.element.remove();
      rows.delete(name);
    }
    for (const row of sheet.handlers) {
      const name = nameOf(row);
      if (!rows.has(name)) rows.set(name, make(row));
      const one = rows.get(name);
      one.row = row;
      one.past = [...one.past, row.now?.workers ?? 0].slice(-SPARKS);
      line(one);
      COLUMNS.forEach((column, index) => {
        if (!column.show) return;
        const value = column.of(one);
        say(one.cells[index], column.show(value, one));
        one.cells[index].classList.toggle("ill", column.isIll?.(value, { threshold }) ?? false);
      });
    }
    order();
    record.know(sheet.handlers.filter(({ method }) => method !== "TASK").map(({ route }) => route));
  }

  function order() {
    const { column, down } = sorted;
    for (const one of COLUMNS) {
      if (one === column) one.head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else one.head.removeAttribute("aria-sort");
    }
    // Who is in it with the keyboard does not want it to change places.
    if (body.contains(document.activeElement)) return;
    const value = (one) => column.of(one) ?? -1;
    const compare = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (down ? -1 : 1);
    const all = [...rows.values()].sort(compare);
    arrange(body, all.map((one) => one.element));
  }

  return { hear };
})();
