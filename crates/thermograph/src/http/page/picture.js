// A flame graph in the page, with its own zoom, and a search that has a label.

const picture = (() => {
  const home = byId("picture");
  const frame = byId("picture-frame");
  const says = byId("picture-says");
  const term = byId("picture-term");
  const found = byId("picture-found");
  const NARROW = 1000;

  /** `links` are pairs of a text and a path. */
  function show(title, path, links) {
    byId("picture-title").textContent = title;
    byId("picture-links").replaceChildren(...links.map(([text, to]) => h("a", { href: door(to) }, text)));
    tell(says, "Drawing.");
    say(found, "");
    term.value = "";
    frame.title = `flame graph: ${title}`;
    frame.src = door(path);
    home.hidden = false;
    home.scrollIntoView({ block: "start", behavior: isCalm.matches ? "auto" : "smooth" });
    home.focus({ preventScroll: true });
  }

  const drawing = () => {
    const root = frame.contentDocument?.documentElement;
    return root?.localName === "svg" ? root : null;
  };

  function fit() {
    const svg = drawing();
    if (!svg) return;
    const { width, height } = svg.viewBox.baseVal;
    if (!width || !height) return;
    const wide = Math.max(frame.clientWidth, NARROW);
    svg.setAttribute("width", wide);
    svg.setAttribute("height", (height * wide) / width);
    const bar = wide > frame.clientWidth ? 20 : 4;
    frame.style.height = `${Math.min(Math.max((height * wide) / width + bar, 160), innerHeight * 0.9)}px`;
  }

  frame.addEventListener("load", () => {
    if (home.hidden) return;
    if (drawing()) {
      tell(says, "Click a frame to zoom in; “Reset Zoom” goes back.");
      return fit();
    }
    const text = frame.contentDocument?.body?.textContent.trim();
    tell(says, text ? `It could not be drawn: ${text}` : "It could not be drawn.", true);
  });
  addEventListener("resize", fit);

  byId("picture-search").addEventListener("submit", (event) => {
    event.preventDefault();
    const svg = drawing();
    // The picture's own script.
    const { search, reset_search: reset } = frame.contentWindow;
    if (!svg || typeof search !== "function") return say(found, "nothing to search yet");
    reset();
    if (!term.value) return say(found, "");
    try {
      search(term.value);
    } catch {
      return say(found, "that is no regular expression");
    }
    // It keeps the colour of each frame that it paints.
    const count = svg.querySelectorAll("[fg\\:orig_fill]").length;
    say(found, count ? `${plural(count, "frame")}. ${svg.getElementById("matched").textContent}` : "nothing matches");
  });

  function close() {
    if (home.hidden) return;
    home.hidden = true;
    frame.removeAttribute("src");
    byId("record-seconds").focus();
  }
  byId("picture-close").addEventListener("click", close);
  home.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });

  return { show };
})();
