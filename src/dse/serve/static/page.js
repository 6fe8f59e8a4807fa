"use strict";

const element = (id) => document.getElementById(id);
const mode = () => document.querySelector("input[name=mode]:checked").value;

async function call(path, body) {
  const headers = { "Content-Type": "application/json" };
  if (element("token").value) headers.Authorization = `Bearer ${element("token").value}`;
  const start = performance.now();
  const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  const response = await fetch(path, options);
  const content = await response.json();
  if (response.status === 401) element("key").open = true;
  if (!response.ok) throw new Error(content.message);
  return { content, milliseconds: performance.now() - start };
}

// The ways to get rows {text, note, score}, best first.
const ways = {
  async search(query) {
    const where = element("where").value.trim() || null;
    const { content, milliseconds } = await call("/search", { query, where, k: Number(element("k").value), exact: element("exact").checked });
    const rows = content.hits.map((hit) => ({ text: hit.text, note: note(hit), score: hit.score }));
    return { rows, milliseconds, how: `${content.scored.toLocaleString()} rows scored; ${content.promise}` };
  },
  async rank(query) {
    const texts = element("texts").value.split("\n").map((line) => line.trim()).filter(Boolean);
    const { content, milliseconds } = await call("/rerank", { query, texts });
    return { rows: content.map((hit) => ({ text: texts[hit.index], note: "", score: hit.score })), milliseconds, how: `${texts.length} texts` };
  },
  async pair(query) {
    const text = element("other").value;
    const { content, milliseconds } = await call("/score", { text_1: query, text_2: text });
    return { rows: [{ text, note: "", score: content.data[0].score }], milliseconds, how: "one pair" };
  },
};

function note(hit) {
  const known = Object.entries(hit.metadata).filter(([, value]) => value !== null);
  return [hit.id, ...known.map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`)].join(" · ");
}

async function addCosines(query, rows) {
  const { content } = await call("/embed", { inputs: [query, ...rows.map((row) => row.text)] });
  const [left, ...others] = content;
  rows.forEach((row, i) => { row.cosine = others[i].reduce((sum, value, j) => sum + value * left[j], 0); });
  [...rows].sort((a, b) => b.cosine - a.cosine).forEach((row, i) => { row.place = i + 1; });
}

// The teacher reads every pair: it comes after the student's ranking is shown. What was asked meanwhile counts.
let asked = 0;

async function addTeacher(query, rows, summary) {
  const now = asked;
  const shown = rows.slice(0, 100);
  say(`${summary}; the teacher reads …`);
  try {
    const { content, milliseconds } = await call("/teacher", { query, texts: shown.map((row) => row.text) });
    if (now !== asked) return;
    content.forEach((hit, i) => {
      const cells = element("results").tBodies[0].rows[hit.index].cells;
      cells[5].textContent = hit.score.toFixed(4);
      cells[6].textContent = i + 1;
    });
    say(`${summary}; teacher ${milliseconds.toFixed(0)} ms for ${shown.length} texts`);
  } catch (error) {
    if (now === asked) say(`${summary}; teacher: ${error.message}`, true);
  }
}

function show(rows) {
  const body = element("results").tBodies[0];
  body.replaceChildren(...rows.map((row, i) => {
    const line = document.createElement("tr");
    for (const value of [i + 1, row.text, row.score.toFixed(4), row.cosine.toFixed(4), row.place]) {
      line.insertCell().textContent = value;
    }
    for (let place = 0; place < 2; place += 1) line.insertCell().className = "taught";
    if (row.note) {
      const small = document.createElement("small");
      small.textContent = row.note;
      line.cells[1].append(small);
    }
    return line;
  }));
  element("results").hidden = element("legend").hidden = rows.length === 0;
}

function say(text, failed = false) {
  element("message").textContent = text;
  element("message").classList.toggle("error", failed);
}

function choose() {
  for (const part of document.querySelectorAll("[data-mode]")) part.hidden = part.dataset.mode !== mode();
  element("query-name").textContent = mode() === "pair" ? "One text" : "Query";
}

async function submit(event) {
  event.preventDefault();
  const button = document.querySelector("button");
  button.disabled = true;
  say("…");
  asked += 1;
  try {
    const query = element("query").value;
    const { rows, milliseconds, how } = await ways[mode()](query);
    if (rows.length) await addCosines(query, rows);
    show(rows);
    const summary = `${how}; ${milliseconds.toFixed(0)} ms`;
    say(rows.length ? summary : "No row meets this.");
    if (rows.length && element("taught").textContent) addTeacher(query, rows, summary);
  } catch (error) {
    show([]);
    say(error.message, true);
  } finally {
    button.disabled = false;
  }
}

async function about() {
  try {
    const { content } = await call("/info");
    const index = content.index;
    const rows = index ? `, ${index.rows.toLocaleString()} rows` : "";
    element("about").textContent = `${content.model_id}: ${content.head} head, ${content.dimension} dimensions, reads ${content.max_input_length} tokens${rows}`;
    if (content.teacher) {
      element("taught").textContent = ` Teacher: ${content.teacher}, which reads every pair.`;
      element("results").classList.remove("untaught");
    }
    const search = document.querySelector("input[value=search]");
    search.parentElement.hidden = !index;
    if (index) {
      search.checked = true;
      element("columns").textContent = `Columns: ${["id", "text", ...Object.keys(index.columns)].join(", ")}`;
    }
    choose();
  } catch (error) {
    element("about").textContent = error.message;
  }
}

element("form").addEventListener("submit", submit);
element("modes").addEventListener("change", choose);
element("token").addEventListener("change", about);
choose();
about();
