"use strict";
const GROUPS = ["many", "medium", "few"];
const PRINTED = 1000; // rows up to which a table is printed whole
// Tables that sort by a click on a heading, search, and show one page of rows at a time.
for (const figure of document.querySelectorAll("figure.table")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const kinds = data.kinds;
  const headings = [...figure.querySelectorAll("th")];
  const body = figure.querySelector("tbody");
  const search = figure.querySelector("input");
  const output = figure.querySelector("output");
  const steps = [...figure.querySelectorAll(".pager button")];
  const texts = kinds.flatMap((kind, column) => (kind === "text" ? [column] : []));
  let found = data.rows, start = 0, sorted = { column: -1, up: true };

  const shown = (value, kind) => {
    if (value === null) return "–";
    if (kind === "text") return value;
    const text = kind === "share" ? value.toFixed(1) : kind === "count" ? value.toLocaleString("en-US") : String(value);
    return text.replace("-", "−");
  };

  const compare = (a, b) => {
    const x = a[sorted.column], y = b[sorted.column];
    if (x === null || y === null) return (x === null) - (y === null);
    const places = [GROUPS.indexOf(x), GROUPS.indexOf(y)];
    const texts = () => (Math.min(...places) < 0 ? x.localeCompare(y, "en", { numeric: true }) : places[0] - places[1]);
    const order = kinds[sorted.column] === "text" ? texts() : x - y;
    return sorted.up ? order : -order;
  };

  const draw = (all = false) => {
    const end = all ? found.length : Math.min(start + data.page, found.length);
    body.replaceChildren(...found.slice(all ? 0 : start, end).map((row) => {
      const line = document.createElement("tr");
      row.forEach((value, column) => {
        const cell = line.insertCell();
        cell.className = kinds[column];
        shown(value, kinds[column]).split("_").forEach((part, index) => {
          if (index) cell.append("_", document.createElement("wbr"));
          cell.append(part);
        });
      });
      return line;
    }));
    if (output) {
      const number = (count) => count.toLocaleString("en-US");
      output.textContent = found.length === 0 ? "No row" : `Rows ${number(start + 1)} to ${number(end)} of ${number(found.length)}`;
    }
    for (const step of steps) step.disabled = step.dataset.step < 0 ? start === 0 : end >= found.length;
  };

  const select = () => {
    const wanted = search ? search.value.trim().toLowerCase() : "";
    found = wanted ? data.rows.filter((row) => texts.some((column) => (row[column] ?? "").toLowerCase().includes(wanted))) : [...data.rows];
    if (sorted.column >= 0) found.sort(compare);
    start = 0;
    draw();
  };

  headings.forEach((heading, column) => heading.querySelector("button")?.addEventListener("click", () => {
    const up = sorted.column === column ? !sorted.up : kinds[column] === "text";
    sorted = { column, up };
    headings.forEach((each) => each.setAttribute("aria-sort", each === heading ? (up ? "ascending" : "descending") : "none"));
    select();
  }));
  steps.forEach((step) => step.addEventListener("click", () => {
    start += Number(step.dataset.step) * data.page;
    draw();
  }));
  if (search) search.addEventListener("input", select);
  addEventListener("beforeprint", () => draw(data.rows.length <= PRINTED));
  addEventListener("afterprint", () => draw());
  const tools = figure.querySelector(".tools");
  if (tools) tools.hidden = false;
  select();
}
