"use strict";
document.querySelectorAll("main .single").forEach(browse);
for (const table of document.querySelectorAll("main table:not(.single table)")) {
  const body = table.tBodies[0], heads = table.tHead ? [...table.tHead.rows[table.tHead.rows.length - 1].cells] : [];
  if (!body || body.rows.length < 2 || table.querySelector("[colspan], [rowspan]")) continue;
  const original = [...body.rows];
  const text = (row, column) => row.cells[column] ? row.cells[column].textContent : "";
  const number = (cell) => parseFloat(cell.trim().replace(/−/g, "-").replace(/,(?=\d{3})/g, "").replace(/^[<[]/, ""));
  const flatten = () => table.classList.toggle(
    "flat", heads.some((head) => head.hasAttribute("aria-sort")) || original.some((row) => row.hidden));
  heads.forEach((head, column) => {
    const numeric = original.some((row) => row.cells[column] && row.cells[column].classList.contains("num"));
    const compare = (a, b) => {
      if (!numeric) return text(a, column).localeCompare(text(b, column));
      const x = number(text(a, column)), y = number(text(b, column));
      return Number.isNaN(x) || Number.isNaN(y) ? NaN : x - y;
    };
    const undefined_last = (a, b) => Number.isNaN(number(text(a, column))) - Number.isNaN(number(text(b, column)));
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const order = next[head.getAttribute("aria-sort") || "none"];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      const rows = [...original];
      if (order !== "none") {
        head.setAttribute("aria-sort", order);
        rows.sort((a, b) => {
          const ascending = compare(a, b);
          return Number.isNaN(ascending) ? undefined_last(a, b) : order === "ascending" ? ascending : -ascending;
        });
      }
      body.append(...rows);
      flatten();
    });
  });
  const folded = table.closest("details");
  if (!folded) continue;
  const search = document.createElement("p"), input = document.createElement("input"), count = document.createElement("output");
  search.className = "search";
  Object.assign(input, { type: "search", placeholder: `Search ${original.length} rows` });
  input.setAttribute("aria-label", `Search the rows of ${folded.querySelector("summary").textContent}`);
  search.append(input, count);
  (table.closest(".scroll") || table).before(search);
  const plain = (words) => words.toLowerCase().replace(/−/g, "-").replace(/\s+/g, " ");
  input.addEventListener("input", () => {
    const wanted = plain(input.value).split(" ").filter(Boolean);
    original.forEach((row) => {
      const whole = plain([...row.cells].map((cell) => cell.title || cell.textContent).join(" "));
      row.hidden = !wanted.every((word) => whole.includes(word));
    });
    count.value = wanted.length ? `${original.filter((row) => !row.hidden).length} of ${original.length} rows` : "";
    flatten();
  });
}
const unfold = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let folded = target; (folded = folded.closest("details")); folded = folded.parentElement) folded.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();
