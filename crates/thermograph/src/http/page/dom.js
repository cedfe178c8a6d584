// What the page is made of. Text from the server goes in as text, never as HTML.

/** A path of the door; a name and a password that stood before the host are not for scripts. */
const door = (path) => location.origin + location.pathname + path;

const byId = (id) => document.getElementById(id);

/** An element: `h("p", { class: "note", onclick: f }, "text", child)`. */
function h(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

/** The same for drawings. */
function s(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function furnish(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Puts children in order without touching those that are in place: focus stays. */
function arrange(parent, children) {
  children.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  while (parent.children.length > children.length) parent.lastElementChild.remove();
}

/** A text whose long words, as paths and names are, may break after their separators. */
function breakable(text) {
  const pieces = /\S{16}/.test(text) ? text.split(/(?<=::|[/_.,<=&?-])(?=\w|[{<])/) : [text];
  return pieces.flatMap((piece, index) => (index > 0 ? [h("wbr"), piece] : [piece]));
}

/** Sets a text only where it differs: what is read or selected stays. */
function say(element, text) {
  if (element.textContent !== text) element.replaceChildren(...breakable(text));
}

/** A sentence below a tool, in red where something went wrong. */
function tell(element, text, isBad = false) {
  element.dataset.tone = isBad ? "bad" : "";
  say(element, text);
}

/** What opens to more: a badge, whose it is, why, and the rest in `parts.body`. */
function itemOf(handler) {
  const parts = { badge: h("span"), why: h("span", { class: "why" }), body: h("div", { class: "body" }) };
  const summary = h("summary", {}, parts.badge, h("span", { class: "name" }, ...breakable(nameOf(handler))), parts.why);
  return { parts, element: h("details", { class: "item" }, summary, parts.body) };
}

/** Names and values side by side; what is not known is left out. */
function factsOf(facts) {
  const fact = ([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, ...breakable(value)));
  return h("dl", { class: "numbers" }, ...facts.filter(([, value]) => value && value !== "–").map(fact));
}

/** For screen readers, and not more often than one can listen. */
const announce = (() => {
  let last = 0;
  return (text) => {
    const now = Date.now();
    if (now - last < 10_000) return;
    last = now;
    byId("announcer").textContent = text;
  };
})();

/** An answer that is none, in words. */
async function refusal(what, response) {
  const text = (await response.text()).trim();
  return `${what}: ${text || `the answer was ${response.status}`}`;
}

/** JSON of a path, or an error whose message is a sentence. */
async function ask(what, path, options = {}) {
  let response;
  try {
    response = await fetch(door(path), { headers: { accept: "application/json" }, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(`${what}: the server does not answer`);
  }
  if (!response.ok) {
    throw Object.assign(new Error(await refusal(what, response)), { status: response.status });
  }
  return response.status === 204 ? null : response.json();
}

/** Milliseconds with three digits that matter, and their unit. */
function millis(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 10_000) return `${digits(value / 1000)} s`;
  if (value > 0 && value < 0.1) return `${digits(value * 1000)} µs`;
  return `${digits(value)} ms`;
}

function digits(value) {
  if (value === 0) return "0";
  if (value < 0.005) return "<0.01";
  if (value < 1) return value.toFixed(2);
  if (value < 10) return value.toFixed(1);
  return Math.round(value).toLocaleString("en");
}

const percent = (share) => (share === null || share === undefined ? "–" : `${digits(share * 100)} %`);

const whole = (count) => count.toLocaleString("en");

function size(bytes) {
  return bytes < 1e6 ? `${digits(bytes / 1e3)}\u00a0kB` : `${digits(bytes / 1e6)}\u00a0MB`;
}

const nameOf = ({ method, route }) => `${method} ${route}`;

const plural = (count, word) => `${whole(count)} ${word}${count === 1 ? "" : "s"}`;

const isCalm = matchMedia("(prefers-reduced-motion: reduce)");
