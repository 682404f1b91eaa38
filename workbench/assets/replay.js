"use strict";
/* Plays the steps of one decode, or of several side by side on one timeline. The page is written once; a step changes
   text, classes and widths in place. */
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const boards = data.boards;
const lastStep = Math.max(...boards.map((board) => board.steps.length));
const { start } = boards.find((board) => board.start !== "all masked") ?? boards[0];
let step = 0;
let board = 0;
let slot = 0;
let timer = null;

/* A shorter decode waits at its last step. */
const stepOf = (which) => Math.min(step, boards[which].steps.length);
const isPinned = (which, index) => {
  const [item, from] = boards[which].pinned[index];
  return item >= 0 && stepOf(which) >= from;
};

const system = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.body.classList.toggle("dark", data.dark === null ? system.matches : data.dark);
paint();
system.addEventListener("change", paint);

const percent = (value) =>
  value < 0.0005 ? "<0.1 %"
    : value >= 0.9995 && value < 1 ? ">99.9 %"
      : `${(100 * value).toFixed(value >= 0.0995 && value < 0.995 ? 0 : 1)} %`;

const digits = (score, decimals) => (Number.isInteger(score) ? `${score}` : score.toFixed(decimals));

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function starred(parent, item) {
  const name = make("bdi", "", item < 0 ? "no candidate left" : data.titles[item]);
  if (item >= 0 && item === data.target) parent.replaceChildren(make("span", "star", "★ "), name);
  else parent.replaceChildren(name);
}

function buildHistory() {
  for (const [item, detail] of data.history) {
    const card = make("li");
    const name = make("span", "name");
    starred(name, item);
    card.append(name, make("small", "", detail));
    byId("history").append(card);
  }
}

const cards = [];
const headings = [];
function buildBoards() {
  boards.forEach((content, which) => {
    const section = make("section", "one-board");
    const heading = make("p", "side");
    if (content.name) heading.append(make("b", "", content.name), " ", make("span", "", content.how), " ");
    const about = make("small");
    if (content.name) heading.append(about);
    const list = make("ol", "slots");
    list.setAttribute("aria-label", content.name ? `slots of ${content.name}` : "slots");
    if (content.name) section.append(heading);
    section.append(list);
    byId("boards").append(section);
    headings.push(about);
    cards.push([]);
    for (let index = 0; index < content.num_slots; index++) list.append(buildSlot(which, index));
  });
}

function buildSlot(which, index) {
  const row = make("li");
  const card = make("button", "slot masked");
  card.type = "button";
  const parts = {
    card, number: make("b", "", `${index + 1} `), glyph: make("span", "glyph"), state: make("span"),
    when: make("span"), name: make("span", "name"),
    fill: make("i"), share: make("b"), score: make("span"), differs: make("span", "differs-glyph"),
  };
  const head = make("span", "head");
  const left = make("span");
  left.append(parts.number, parts.differs, parts.glyph, " ", parts.state);
  head.append(left, parts.when);
  const meter = make("span", "meter");
  meter.append(parts.fill);
  const foot = make("span", "foot");
  foot.append(parts.share, parts.score);
  card.append(head, parts.name, meter, foot);
  for (const kind of ["mouseenter", "focus", "click"]) card.addEventListener(kind, () => choose(which, index));
  row.append(card);
  cards[which].push(parts);
  return row;
}

function drawSlot(which, index) {
  const content = boards[which];
  const at = stepOf(which);
  const parts = cards[which][index];
  const differs = step > 0 && content.differs.length > 0
    && content.differs[Math.min(step, content.differs.length) - 1].includes(index);
  const marks = `${which === board && index === slot ? " chosen" : ""}${differs ? " differs" : ""}`;
  parts.differs.textContent = differs ? "≠ " : "";
  if (isPinned(which, index)) {
    const [item, from] = content.pinned[index];
    parts.card.className = `slot kept${marks}`;
    parts.glyph.textContent = data.glyphs[data.states.indexOf("kept")];
    parts.state.textContent = "pinned";
    starred(parts.name, item);
    parts.when.textContent = parts.share.textContent = "";
    parts.fill.style.width = "0";
    parts.score.textContent = `by you, ${from ? `since step ${from}` : "from the start"}`;
    return;
  }
  const [state, item, share, score] = at ? content.steps[at - 1][index] : [0, -1, null, null];
  const name = at || content.has_slots ? data.states[state] : "noise";
  parts.card.className = `slot ${name}${marks}`;
  parts.number.textContent = content.has_slots ? `${index + 1} ` : "";
  parts.glyph.textContent = content.has_slots ? data.glyphs[state] : "";
  parts.state.textContent = content.has_slots ? name : data.sample_states[name];
  parts.when.textContent = name === "kept" && content.has_slots ? `step ${content.filled_at[at - 1][index]}` : "";
  if (share === null) {
    parts.name.textContent = "nothing predicted yet";
    parts.share.textContent = parts.score.textContent = "";
    parts.fill.style.width = "0";
    return;
  }
  starred(parts.name, item);
  if (name === "masked" || name === "emptied") parts.name.prepend("leans to ");
  parts.share.textContent = percent(share);
  parts.fill.style.width = `${100 * share}%`;
  parts.score.textContent = content.score_name ? `${content.score_name} ${digits(score, 2)}` : "";
}

/* Of each item that another slot holds, which one: the slot looked at could not take it. */
function heldByOthers(content, at) {
  const held = new Map();
  content.steps[at - 1].forEach(([state, item], other) => {
    const name = data.states[state];
    if (other === slot || name === "masked" || name === "emptied") return;
    held.set(item, `${name === "kept" ? "in" : "→"} slot ${other + 1}`);
  });
  return held;
}

function drawCandidates() {
  const box = byId("candidates");
  const content = boards[board];
  const at = stepOf(board);
  const of = content.name ? ` of ${content.name}` : "";
  if (isPinned(board, slot)) {
    byId("candidates-title").textContent = `Slot ${slot + 1}${of}: pinned`;
    box.replaceChildren(make("p", "", "The model was not asked for this slot."));
    return;
  }
  byId("candidates-title").textContent = content.has_slots
    ? at ? `Candidates of slot ${slot + 1}${of} at step ${at}` : `Slot ${slot + 1}${of}: ${start}`
    : at ? `Nearest items${of} at step ${at}` : `Start${of}: ${start}`;
  if (!at) {
    box.replaceChildren(make("p", "", "Go to the first step to see what the model predicts."));
    return;
  }
  const [state, item, share, score, candidates, rank] = content.steps[at - 1][slot];
  const scores = make("div", "scores");
  const sorted = content.score_name ? [`${content.score_name}`, digits(score, 3), " no confidence"]
    : ["the same", percent(share), ""];
  const told = [["model's probability", percent(share), ""]];
  if (content.has_slots) told.push([`rule sorted by: ${sorted[0]}`, sorted[1], sorted[2]]);
  for (const [term, value, note] of told) {
    const pair = make("div");
    pair.append(make("small", "", term), make("b", "", value), make("small", "", note));
    scores.append(pair);
  }
  const table = make("table", "candidates");
  const elsewhere = heldByOthers(content, at);
  const isFilled = content.has_slots && (data.states[state] === "new" || data.states[state] === "kept");
  candidates.forEach(([candidate, probability], place) => {
    const row = make("tr", `${isFilled && candidate === item ? "taken " : ""}${candidate === data.target ? "is-target" : ""}`);
    const name = make("td", "item");
    const text = make("span");
    starred(text, candidate);
    name.append(text);
    const bar = make("td", "share");
    const meter = make("div", "meter");
    const fill = make("i");
    fill.style.width = `${100 * probability / Math.max(candidates[0][1], 1e-9)}%`;
    meter.append(fill);
    bar.append(meter);
    row.append(make("td", "number", `${place + 1}`), name, bar, make("td", "number", percent(probability)),
      make("td", "mark", isFilled && candidate === item ? "■ taken" : elsewhere.get(candidate) ?? ""));
    table.append(row);
  });
  const among = content.has_slots ? "best candidates of this slot" : "nearest";
  const truth = data.target === null ? ""
    : rank ? `★ The held-out item is at place ${rank}${content.has_slots ? " of this slot" : ""}.`
      : `★ The held-out item is not among the ${data.num_candidates} ${among}.`;
  box.replaceChildren(scores, table, make("p", "", truth));
}

function draw() {
  boards.forEach((content, which) => {
    for (let index = 0; index < content.num_slots; index++) drawSlot(which, index);
    const differing = cards[which].filter((parts) => parts.differs.textContent).length;
    const over = step > content.steps.length ? ", over" : "";
    headings[which].textContent = `${content.steps.length} steps${over}`
      + (content.differs.length ? ` · ≠ ${differing} of ${content.num_slots}` : "");
  });
  byId("scrub").value = step;
  byId("clock").textContent = step ? `step ${step} of ${lastStep}` : `start: ${start}`;
  drawCandidates();
}

function choose(which, index) {
  if (which === board && index === slot) return;
  cards[board][slot].card.classList.remove("chosen");
  [board, slot] = [which, index];
  cards[board][slot].card.classList.add("chosen");
  drawCandidates();
}

function go(to) {
  step = Math.min(Math.max(to, 0), lastStep);
  draw();
}

function pause() {
  clearInterval(timer);
  timer = null;
  byId("play").textContent = "▶ Play";
}

function play() {
  if (step === lastStep) go(0);
  byId("play").textContent = "Pause";
  timer = setInterval(() => {
    go(step + 1);
    if (step === lastStep) pause();
  }, Number(byId("speed").value));
}

const toggle = () => (timer === null ? play() : pause());

byId("first").addEventListener("click", () => { pause(); go(0); });
byId("previous").addEventListener("click", () => { pause(); go(step - 1); });
byId("play").addEventListener("click", toggle);
byId("next").addEventListener("click", () => { pause(); go(step + 1); });
byId("last").addEventListener("click", () => { pause(); go(lastStep); });
byId("scrub").max = lastStep;
byId("scrub").addEventListener("input", (event) => { pause(); go(Number(event.target.value)); });
byId("speed").addEventListener("change", () => { if (timer !== null) { pause(); play(); } });
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.tagName === "SELECT") return;
  const onRange = event.target.tagName === "INPUT";
  const onButton = event.target.tagName === "BUTTON" || event.target.tagName === "SUMMARY";
  const moves = { ArrowRight: step + 1, ArrowLeft: step - 1, Home: 0, End: lastStep };
  if (event.key in moves && !onRange) { pause(); go(moves[event.key]); event.preventDefault(); }
  else if (event.key === " " && !onButton) { toggle(); event.preventDefault(); }
});

buildHistory();
buildBoards();
draw();
