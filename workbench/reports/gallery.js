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
controls.forEach((control) => control.addEventListener("input", filter));
document.forms[0].addEventListener("submit", (event) => event.preventDefault());
document.forms[0].hidden = false;
filter();
