// Stacks: the app's own frames first, the rest folded.

/** The last parts of a path: enough to know the file by. */
function place({ file, line }) {
  if (!file) return "";
  const parts = file.split("/").slice(-3).join("/");
  return line ? `${parts}:${line}` : parts;
}

/** Its name as the code has it: an async function is a closure in a function. */
const functionOf = ({ function: name }) => name.replaceAll("::{{closure}}", "");

function frameLine(frame) {
  return h(
    "li",
    { class: frame.own ? "ours" : "theirs", title: `${frame.function}${frame.file ? ` at ${frame.file}:${frame.line}` : ""}` },
    ...breakable(functionOf(frame)),
    frame.file ? h("span", { class: "at" }, ...breakable(place(frame))) : null,
  );
}

/** Most frames of the app's own that are shown at once. */
const OWN_FRAMES = 6;

function stackOf(frames) {
  if (frames.length === 0) return h("p", { class: "note" }, "no stack was taken, or its names are not there yet");
  let own = frames.filter((frame) => frame.own).slice(0, OWN_FRAMES);
  if (own.length === 0) own = frames.slice(0, 3);
  const rest = frames.length - own.length;
  const more = h("details", {}, h("summary", { class: "note" }, `and ${plural(rest, "frame")} of libraries, runtime and system`));
  more.addEventListener("toggle", () => more.append(h("ol", { class: "stack" }, ...frames.map(frameLine))), { once: true });
  return h("div", {}, h("ol", { class: "stack" }, ...own.map(frameLine)), rest > 0 ? more : null);
}
