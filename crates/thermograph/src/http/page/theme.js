// Light or dark: as the system has it, until somebody chooses.

const theme = (() => {
  const button = byId("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];
  const stored = () => {
    try {
      return localStorage.getItem("thermograph-theme");
    } catch {
      // Storage may be forbidden: then a choice lasts as long as the page.
      return null;
    }
  };
  let chosen = stored();
  const isDark = () => (chosen ? chosen === "dark" : system.matches);
  function show() {
    if (chosen) document.documentElement.dataset.theme = chosen;
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Switch to light colours" : "Switch to dark colours");
    listeners.forEach((listener) => listener());
  }
  button.addEventListener("click", () => {
    chosen = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("thermograph-theme", chosen);
    } catch {
      // As above.
    }
    show();
  });
  system.addEventListener("change", show);
  /** A drawing needs the colour itself, not the two that it is chosen from. */
  function colour(name) {
    button.style.setProperty("outline-color", `var(${name})`);
    const found = getComputedStyle(button).outlineColor;
    button.style.removeProperty("outline-color");
    return found;
  }
  button.hidden = false;
  show();
  return { isDark, colour, onChange: (listener) => listeners.push(listener) };
})();

/** A colour for each handler, in the order they come; red is for stalls. Past the last, grey. */
const hues = (() => {
  const light = ["#2f6db3", "#1f8a7d", "#8556b5", "#a8741a", "#5c8a2a", "#b0558c", "#5a8fc0", "#7b6a56", "#35608a", "#6b7f1d"];
  const dark = ["#6aa5e8", "#4fc2b2", "#b98ee6", "#d9a548", "#93c45c", "#e08bbd", "#9cc7ee", "#b8a68f", "#7f9fd0", "#b4c455"];
  const order = new Map();
  return {
    names: () => [...order.keys()],
    of(name) {
      if (!order.has(name) && order.size < light.length) order.set(name, order.size);
      const colours = theme.isDark() ? dark : light;
      return colours[order.get(name)] ?? (theme.isDark() ? "#8b9099" : "#80858e");
    },
  };
})();
