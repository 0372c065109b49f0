"use strict";

document.documentElement.classList.add("scripted");

/* Every text reaches the page as the text of a node, never as markup. */
const make = (name, attributes, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
};

const data = JSON.parse(document.getElementById("data").textContent);
const label = (i) => `${i + 1} ${data.pipelines[i]}`;
const options = (select, chosen) => {
  data.pipelines.forEach((_, i) => {
    const option = make("option", { value: i }, label(i));
    option.selected = i === chosen;
    select.append(option);
  });
};

/* tables: a click on a head sorts by its column; cells without a value stay last */
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const text = head.hasAttribute("data-text");
      const first = text || column === 0 ? "ascending" : "descending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const body = table.tBodies[0];
      const value = (row) => row.cells[column].dataset.v;
      const rows = [...body.rows].sort((a, b) => {
        const [left, right] = [value(a), value(b)];
        if (left === undefined || right === undefined) {
          return (left === undefined) - (right === undefined);
        }
        const [x, y] = [Number(left), Number(right)];
        return sign * (Number.isNaN(x) || Number.isNaN(y) ? left.localeCompare(right) : x - y);
      });
      body.append(...rows);
    });
  });
}

/* charts: bring one pipeline out */
const pickers = [...document.querySelectorAll("select.emphasis")];
const emphasise = (chosen) => {
  document.body.classList.toggle("picking", chosen !== "");
  for (const mark of document.querySelectorAll("[data-p]")) {
    const picked = mark.dataset.p.split(" ").includes(chosen);
    mark.classList.toggle("picked", picked);
    if (picked && !mark.querySelector("rect.fill")) mark.parentNode.append(mark);
  }
  for (const picker of pickers) picker.value = chosen;
};
for (const picker of pickers) {
  picker.append(make("option", { value: "" }, "no pipeline"));
  options(picker, -1);
  picker.value = "";
  picker.addEventListener("change", () => emphasise(picker.value));
}

/* query by query */
const browser = document.getElementById("browser");
if (browser) {
  const filters = {
    all: ["all", () => true],
    worse: ["B worse", (a, b) => a && b && score(b) < score(a)],
    better: ["B better", (a, b) => a && b && score(b) > score(a)],
    answers: ["different answers", (a, b) => a && b && a.a !== b.a],
    errors: ["errors", (a, b) => (a && a.x !== undefined) || (b && b.x !== undefined)],
  };
  const score = (row) => (row.s === undefined ? 0 : row.s);
  const field = (name, id) => {
    const select = make("select", { id });
    return [select, make("label", { for: id }, `${name} `, select)];
  };
  const [left, leftLabel] = field("A", "side-a");
  const [right, rightLabel] = field("B", "side-b");
  const [filter, filterLabel] = field("Show", "filter");
  const last = data.pipelines.length - 1;
  options(left, 0);
  options(right, data.best);
  const previous = make("button", { type: "button", id: "previous" }, "← Previous");
  const next = make("button", { type: "button", id: "next" }, "Next →");
  const place = make("span", { role: "status", id: "place" });
  const view = make("div", { id: "view" });
  const two = last > 0;
  const tools = [leftLabel, two ? rightLabel : null, filterLabel, previous, next, place];
  browser.append(make("div", { class: "tools" }, ...tools), view);

  let found = [];
  let at = 0;

  const rows = (query) => [query.by[left.value], two ? query.by[right.value] : null];
  const list = () => {
    const kept = filter.value || "all";
    filter.replaceChildren();
    for (const [key, [name, test]] of Object.entries(filters)) {
      if (!two && key !== "all" && key !== "errors") continue;
      const count = data.queries.filter((query) => test(...rows(query))).length;
      const option = make("option", { value: key }, `${name} (${count})`);
      option.selected = key === kept;
      filter.append(option);
    }
    found = data.queries.filter((query) => filters[filter.value][1](...rows(query)));
    at = 0;
    show();
  };

  const marked = (text, spans) => {
    const whole = spans !== null && spans.length === 1 && spans[0][1] - spans[0][0] >= text.length;
    const paragraph = make("p", { dir: "auto", class: whole ? "whole" : spans && "cut" });
    let done = 0;
    for (const [start, end] of spans || []) {
      if (start < done || end <= start) continue;
      paragraph.append(text.slice(done, start), make("mark", null, text.slice(start, end)));
      done = end;
    }
    paragraph.append(text.slice(done));
    return paragraph;
  };

  const passage = (row, number, rank) => {
    const [title, document_, text, missing] = data.passages[number];
    const spans = row.e.filter((span) => span[0] === number).map((span) => span.slice(1));
    spans.sort((a, b) => a[0] - b[0]);
    const kept = row.e.length && !spans.length ? " – nothing kept" : "";
    const head = make("h5", null, `${rank}. `, make("bdi", null, title || document_), kept);
    const body = make("div", { class: "passage" }, head);
    if (missing === null) {
      body.append(make("p", { class: "cut" }, "(its text is not in the run's folder)"));
    } else {
      body.append(marked(text, row.e.length ? spans : null));
      if (missing) body.append(make("p", { class: "cut" }, `… ${missing} more letters`));
    }
    return body;
  };

  const side = (row, i, name) => {
    const part = make("div", { class: "side" });
    part.append(make("h4", { dir: "auto" }, `${two ? `${name}: ` : ""}${label(i)}`));
    if (!row) {
      part.append(make("p", { class: "none" }, "no row for this query"));
      return part;
    }
    if (row.x !== undefined) {
      part.append(make("p", { class: "failed", dir: "auto" }, `failed: ${row.x}`));
    } else if (row.n) {
      part.append(make("p", { class: "answer" }, "(abstained)"));
    } else {
      part.append(make("p", { class: "answer", dir: "auto" }, row.a || "(no answer)"));
    }
    if (row.s !== undefined) part.append(make("p", null, `${data.measure} ${row.s.toFixed(3)}`));
    if (row.k) part.append(make("p", { class: "none" }, `from the cache: ${row.k.join(", ")}`));
    row.h.forEach((number, rank) => part.append(passage(row, number, rank + 1)));
    return part;
  };

  const show = () => {
    previous.setAttribute("aria-disabled", at <= 0);
    next.setAttribute("aria-disabled", at >= found.length - 1);
    place.textContent = found.length ? `${at + 1} of ${found.length}` : "none";
    view.replaceChildren();
    if (!found.length) {
      view.append(make("p", null, "No query of this kind."));
      return;
    }
    const query = found[at];
    const [a, b] = rows(query);
    let right_ = query.right.join(" | ");
    if (query.answerable === false) right_ = "(none: not answerable from the corpus)";
    view.append(
      make("h3", { id: "question", dir: "auto" }, query.q),
      make("dl", null,
        make("dt", null, "id"), make("dd", null, make("code", null, query.id)),
        right_ ? make("dt", null, query.right.length > 1 ? "right answers" : "right answer") : null,
        right_ ? make("dd", { dir: "auto" }, right_) : null),
      make("div", { class: "sides" },
        side(a, Number(left.value), "A"), two ? side(b, Number(right.value), "B") : null),
    );
  };

  const step = (by) => {
    at = Math.max(0, Math.min(found.length - 1, at + by));
    show();
  };
  previous.addEventListener("click", () => step(-1));
  next.addEventListener("click", () => step(1));
  for (const select of [left, right, filter]) select.addEventListener("change", list);
  browser.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.tagName === "SELECT") return;
    const by = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    step(by);
  });
  list();
}
