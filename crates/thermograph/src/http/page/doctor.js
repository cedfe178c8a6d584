// The doctor: what this build and machine can show, and the line that mends what they cannot.

(() => {
  const list = byId("doctor-list");

  function finding({ what, state, says, mend }) {
    return h(
      "li",
      {},
      h("span", { class: `badge ${state}` }, state),
      h("div", {}, h("p", {}, h("strong", {}, what.replaceAll("_", " ")), ...breakable(` ${says}`)), mend ? h("p", { class: "code" }, ...breakable(mend)) : null),
    );
  }

  ask("doctor", "doctor", { headers: { accept: "application/json" } }).then(
    ({ findings }) => {
      const worst = ["bad", "warning", "good"];
      const sorted = [...findings].sort((a, b) => worst.indexOf(a.state) - worst.indexOf(b.state));
      list.replaceChildren(h("ul", { class: "findings" }, ...sorted.map(finding)));
    },
    (error) => list.replaceChildren(h("p", { class: "empty" }, error.message)),
  );
})();
