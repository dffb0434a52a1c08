"use strict";
function browse(list) {
  const entries = [...list.querySelectorAll(":scope > details")].map((element) => {
    const facts = (kind) => [...element.querySelectorAll(`p.${kind} span`)].map((span) => {
      const name = span.querySelector("i").textContent;
      return [name, span.textContent.slice(name.length).trim()];
    });
    const number = (text) => text === "–" ? NaN : parseFloat(text.replace("−", "-").replace(/,/g, ""));
    return {
      element,
      metrics: new Map(facts("metrics").map(([name, text]) => [name, number(text)])),
      tags: new Map(facts("tags")),
      flags: facts("flags").map(([, text]) => text),
      text: element.textContent.toLowerCase(),
    };
  });
  if (entries.length < 2) return;
  const bar = document.createElement("p"), count = document.createElement("output");
  const field = (kind, label, values) => {
    const made = document.createElement(kind);
    made.setAttribute("aria-label", label);
    if (kind === "select") for (const [text, value] of values) made.add(new Option(text, value));
    else Object.assign(made, { type: "search", placeholder: label });
    made.addEventListener("input", update);
    bar.append(made, " ");
    return made;
  };
  const search = field("input", "Search the questions");
  const orders = [...entries[0].metrics.keys()].flatMap((name) => [[`sort: ${name} ↑`, `+${name}`], [`sort: ${name} ↓`, `-${name}`]]);
  const order = field("select", "Sort by", [["sort: as listed", ""], ...orders]);
  const filters = [...new Set(entries.flatMap((entry) => [...entry.tags.keys()]))].map((name) => {
    const values = [...new Set(entries.map((entry) => entry.tags.get(name)))].filter((value) => value !== undefined).sort();
    if (values.length < 2 || values.length > 60) return null;
    return [name, field("select", name, [[`${name}: all`, ""], ...values.map((value) => [`${name}: ${value}`, `=${value}`])])];
  }).filter(Boolean);
  const flags = [...new Set(entries.flatMap((entry) => entry.flags))].sort();
  const flag = flags.length ? field("select", "flag", [["flags: all", ""], ...flags.map((each) => [`flag: ${each}`, each])]) : null;
  bar.append(count);
  bar.className = "search";
  list.querySelector("p").after(bar);
  list.dataset.lmSuppressShortcuts = "true";
  function update() {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const sign = order.value[0] === "-" ? -1 : 1, metric = order.value.slice(1);
    const value = (entry) => sign * entry.metrics.get(metric);
    const sorted = metric ? [...entries].sort((a, b) => {
      const x = value(a), y = value(b);
      return Number.isNaN(x) - Number.isNaN(y) || x - y || 0;
    }) : entries;
    let shown = 0;
    for (const entry of sorted) {
      const fits = wanted.every((word) => entry.text.includes(word))
        && filters.every(([name, select]) => !select.value || `=${entry.tags.get(name)}` === select.value)
        && (!flag || !flag.value || entry.flags.includes(flag.value));
      entry.element.hidden = !fits;
      shown += fits;
      list.append(entry.element);
    }
    count.value = shown === entries.length ? "" : `${shown} of ${entries.length}`;
  }
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.target.tagName !== "SUMMARY") return;
    const visible = [...list.querySelectorAll(":scope > details:not([hidden]) > summary")];
    const next = visible[visible.indexOf(event.target) + step];
    if (next) { next.focus(); event.preventDefault(); }
  });
}
