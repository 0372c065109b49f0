"use strict";

/* Every text reaches the page as the text of a node, never as markup. */
const make = (name, attributes, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
};
const at = (id) => document.getElementById(id);

/* What is known of the question that is being answered. */
let asking = null;
let passages = [];
let verdict = null;
let cited = [];

const say = (text, failed) => {
  at("status").textContent = text;
  at("status").classList.toggle("failed", Boolean(failed));
};

const reset = () => {
  passages = [];
  verdict = null;
  cited = [];
  for (const id of ["answer", "facts", "citations", "stages", "share", "passages"]) {
    at(id).replaceChildren();
  }
  for (const id of ["answered", "timed", "found"]) at(id).hidden = true;
  at("answer").classList.remove("abstained", "partial");
  say("", false);
};

/* Offsets count characters as Python does, and a string of JavaScript counts halves of some. */
const pieces = (passage) => {
  const letters = Array.from(passage.text);
  const of = (list, kind) =>
    list.filter((span) => span.passage_id === passage.id).map((span) => ({ ...span, kind }));
  const spans = verdict ? [...of(verdict.kept, "kept"), ...of(verdict.dropped, "dropped")] : [];
  spans.sort((a, b) => a.start - b.start);
  const found = [];
  let done = 0;
  for (const span of spans) {
    if (span.start < done || span.end <= span.start) continue;
    if (span.start > done) found.push({ text: letters.slice(done, span.start).join("") });
    found.push({ ...span, text: letters.slice(span.start, span.end).join("") });
    done = span.end;
  }
  found.push({ text: letters.slice(done).join("") });
  return found;
};

const shown = (passage) => {
  const isCited = (piece) =>
    cited.some(
      (one) =>
        one.passage_id === passage.id &&
        one.start < passage.start + piece.end &&
        passage.start + piece.start < one.end,
    );
  const body = make("p", { dir: "auto" });
  const all = pieces(passage);
  all.forEach((piece, i) => {
    if (piece.kind === "kept") {
      const title = piece.score === null ? null : `kept, score ${piece.score.toFixed(2)}`;
      body.append(make("mark", { title, class: isCited(piece) ? "cited" : null }, piece.text));
    } else if (piece.kind === "dropped") {
      /* The reason stands once after neighbours that share it; the tooltip is on each. */
      const next = all.slice(i + 1).find((one) => one.kind || one.text.trim());
      const same = next && next.kind === "dropped" && next.reason === piece.reason;
      const reason = same ? null : make("small", { class: "reason" }, piece.reason);
      const title = `dropped: ${piece.reason}`;
      body.append(make("span", { class: "dropped", title }, piece.text, reason && " ", reason));
    } else {
      body.append(piece.text);
    }
  });
  return body;
};

const showPassages = () => {
  at("found").hidden = !passages.length;
  at("passages").replaceChildren(
    ...passages.map((passage, i) => {
      const place = `${passage.doc_id}:${passage.start}-${passage.end}`;
      const head = make("h3", null, `${i + 1}. `);
      if (passage.title && passage.title !== passage.doc_id) {
        head.append(make("bdi", null, passage.title), " ");
      }
      head.append(make("span", null, make("bdi", null, place)));
      const attributes = { class: "passage", id: `passage-${i + 1}`, tabindex: "-1" };
      return make("article", attributes, head, shown(passage));
    }),
  );
};

const showCitations = (annotations) => {
  cited = annotations.map((one) => one.citation);
  at("citations").replaceChildren(
    ...cited.map((one) => {
      const rank = passages.findIndex((passage) => passage.id === one.passage_id) + 1;
      const place = make("bdi", null, `${one.doc_id}:${one.start}-${one.end}`);
      const link = rank ? make("a", { href: `#passage-${rank}` }, place) : place;
      return make("li", null, make("q", { dir: "auto" }, one.quote), " ", link);
    }),
  );
};

const showTimes = (timings) => {
  const total = timings.total || Math.max(...Object.values(timings), 0);
  at("stages").replaceChildren();
  for (const [stage, seconds] of Object.entries(timings)) {
    const bar = make("div", { class: "bar" });
    bar.style.width = `${total ? (100 * seconds) / total : 0}%`;
    at("stages").append(
      make("dt", null, stage),
      make("dd", { class: "number" }, `${(1000 * seconds).toFixed(seconds < 0.01 ? 1 : 0)} ms`),
      make("dd", { "aria-hidden": "true" }, bar),
    );
  }
  at("timed").hidden = false;
};

const showFacts = (about) => {
  const facts = [];
  if (about.abstained) facts.push("abstained");
  if (about.confidence !== null) facts.push(`confidence ${about.confidence.toFixed(2)}`);
  facts.push(...about.flags);
  at("facts").textContent = facts.join(" · ");
  at("answer").classList.toggle("abstained", about.abstained);
  if (about.words_in) {
    const share = Math.round((100 * about.words_kept) / about.words_in);
    at("share").textContent =
      `${about.words_kept} of ${about.words_in} words kept (${share} %), ` +
      `${100 - share} % removed.`;
  }
};

const take = (event) => {
  if (event.error) throw new Error(event.error.message);
  const [choice] = event.choices;
  const own = event.ragib || {};
  if (own.passages) {
    passages = own.passages;
    showPassages();
    say("Reading the passages …");
  }
  if (own.kept) {
    verdict = own;
    showPassages();
    say("Answering …");
  }
  if (choice && choice.delta.content) {
    at("answered").hidden = false;
    at("answer").append(choice.delta.content);
  }
  if (choice && choice.delta.annotations) {
    showCitations(choice.delta.annotations);
    showPassages();
  }
  if (own.timings) {
    showFacts(own);
    showTimes(own.timings);
  }
};

/* Server-sent events: blocks that end in a blank line, with JSON after "data:". */
const read = async (response) => {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    rest += decoder.decode(value, { stream: !done });
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.replace(/^data: /, "");
      if (data === "[DONE]") return;
      take(JSON.parse(data));
    }
    if (done) throw new Error("the answer broke off before its end");
  }
};

const refused = async (response) => {
  let message = `status ${response.status}`;
  try {
    message = (await response.json()).error.message;
  } catch {
    /* not a response of ours; its status has to do */
  }
  const later = response.headers.get("retry-after");
  if (response.status === 401) {
    at("access").open = true;
    at("key").focus();
  }
  return new Error(later ? `${message}; try again in ${later} s` : message);
};

const ask = async (question) => {
  if (asking) asking.abort();
  const mine = new AbortController();
  asking = mine;
  reset();
  say("Searching …");
  at("stop").disabled = false;
  const headers = { "Content-Type": "application/json" };
  if (at("key").value) headers.Authorization = `Bearer ${at("key").value}`;
  if (at("groups").value.trim()) headers["X-Ragib-Groups"] = at("groups").value.trim();
  const messages = [{ role: "user", content: question }];
  try {
    const response = await fetch("v1/chat/completions", {
      method: "POST",
      headers,
      body: JSON.stringify({ messages, stream: true, trace: true }),
      signal: mine.signal,
    });
    if (!response.ok) throw await refused(response);
    await read(response);
    say("Done.");
  } catch (error) {
    if (asking !== mine) return;
    const stopped = mine.signal.aborted;
    say(stopped ? "Stopped." : `Failed: ${error.message}`, !stopped);
    at("answer").classList.add("partial");
  }
  if (asking === mine) {
    asking = null;
    at("stop").disabled = true;
  }
};

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = at("question").value;
  if (question.trim()) ask(question);
});
at("stop").addEventListener("click", () => asking && asking.abort());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && asking) asking.abort();
  const typing = event.target.tagName === "INPUT";
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    at("question").focus();
    at("question").select();
  }
});
