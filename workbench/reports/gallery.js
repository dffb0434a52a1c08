"use strict";
const cards = [...document.querySelectorAll("article")];
const words = cards.map((card) => card.textContent.toLowerCase());
const controls = document.querySelectorAll("form input, form select");
const filter = () => {
  const value = (name) => document.forms[0].elements[name].value;
  const wanted = value("search").toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  cards.forEach((card, i) => {
    const data = card.dataset;
    const fits = ["study", "model", "status"].every((name) => !value(name) || data[name] === value(name))
      && (!value("from") || data.date >= value("from")) && (!value("to") || data.date <= value("to"))
      && wanted.every((word) => words[i].includes(word));
    card.hidden = !fits;
    shown += fits;
  });
  const narrowed = shown < cards.length;
  for (const part of document.querySelectorAll("main section, main details")) {
    part.hidden = narrowed && !part.querySelector("article:not([hidden])");
    if (narrowed && part.tagName === "DETAILS") part.open = true;
  }
  document.querySelector("output").textContent = `${shown} of ${cards.length} runs`;
};
const draw = (picture) => {
  const add = (parent, name, values, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(values).forEach(([key, value]) => element.setAttribute(key, value));
    element.textContent = text || "";
    return parent.appendChild(element);
  };
  const rows = JSON.parse(picture.dataset.rows), middle = 230, x = (value) => middle + 46 * value;
  add(picture, "path", { class: "base", d: `M${middle} 15V${30 * rows.length + 18}` });
  add(picture, "text", { class: "s", x: 280, y: 10 }, "as claimed →");
  rows.forEach(([kind, label, low, high, mean], i) => {
    const group = add(picture, "g", { class: kind }), y = 30 * i + 33, lines = label.split("\n");
    lines.forEach((line, k) => add(group, "text", { y: y + 4 + 13 * (k - (lines.length - 1) / 2) }, line));
    if (mean === undefined) return;
    add(group, "path", { d: `M${x(low)} ${y}H${x(high)}` });
    add(group, "circle", { cx: x(mean), cy: y, r: 3 });
  });
};
const seen = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
  seen.unobserve(entry.target);
  draw(entry.target);
}), { rootMargin: "600px" });
document.querySelectorAll(".forest").forEach((picture) => seen.observe(picture));
controls.forEach((control) => control.addEventListener("input", filter));
document.forms[0].addEventListener("submit", (event) => event.preventDefault());
document.forms[0].hidden = false;
filter();
