/* The matrix of slots and steps: a grid of buttons, built once for its size; what changes is written in place. All text
   enters as text. Arrow keys go from cell to cell, a click or Enter tells the page which one. */
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function build(root, data) {
  const { num_steps: numSteps, num_slots: numSlots } = data;
  const grid = make("div", "grid");
  grid.style.gridTemplateColumns = `max-content repeat(${numSteps}, minmax(0, 1fr))`;
  const cells = [];
  for (let slot = 0; slot < numSlots; slot++) {
    grid.append(make("span", "label", `${slot + 1}`));
    for (let step = 0; step < numSteps; step++) {
      const cell = make("button", "cell");
      cell.type = "button";
      cell.tabIndex = -1;
      Object.assign(cell.dataset, { step, slot });
      cell.append(make("i"));
      grid.append(cell);
      cells.push(cell);
    }
  }
  const every = numSteps <= 20 ? 1 : 5;
  grid.append(make("span", "label", ""));
  for (let step = 0; step < numSteps; step++) {
    grid.append(make("span", "label", step % every ? "" : `${step + 1}`));
  }
  const scale = make("div", "scale");
  scale.append(make("span"), make("i"), make("span"), make("small"));
  const tip = make("div", "tip");
  tip.hidden = true;
  root.replaceChildren(make("span", "axis slots", "slot"), grid, make("span", "axis steps", "step"), scale, tip);
  return { cells, tip, scale, size: `${numSteps} ${numSlots}` };
}

function listen(root, state) {
  const cellOf = (event) => event.target.closest?.(".cell");
  const at = (cell) => Number(cell.dataset.slot) * state.data.num_steps + Number(cell.dataset.step);
  const tell = (event) => {
    const cell = cellOf(event);
    if (!cell) return;
    state.drawn.tip.replaceChildren(...state.data.cells[at(cell)][4].map((line) => make("div", "", line)));
    state.drawn.tip.hidden = false;
    const [frame, box, own] = [root, cell, state.drawn.tip].map((each) => each.getBoundingClientRect());
    const left = box.left - frame.left + box.width / 2 - own.width / 2;
    const below = box.bottom - frame.top + 4;
    const fits = box.bottom + own.height + 8 < innerHeight;
    state.drawn.tip.style.left = `${Math.max(0, Math.min(left, frame.width - own.width))}px`;
    state.drawn.tip.style.top = `${fits ? below : box.top - frame.top - own.height - 4}px`;
  };
  root.addEventListener("mouseover", tell);
  root.addEventListener("focusin", tell);
  for (const kind of ["mouseleave", "focusout"]) {
    root.addEventListener(kind, () => { state.drawn.tip.hidden = true; });
  }
  root.addEventListener("click", (event) => {
    const cell = cellOf(event);
    if (cell) state.pick("picked", [Number(cell.dataset.step), Number(cell.dataset.slot)]);
  });
  root.addEventListener("keydown", (event) => {
    const cell = cellOf(event);
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!cell || !way || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation(); // the page takes left and right for its steps
    const [step, slot] = [Number(cell.dataset.step) + way[0], Number(cell.dataset.slot) + way[1]];
    if (step < 0 || slot < 0 || step >= state.data.num_steps || slot >= state.data.num_slots) return;
    state.drawn.cells[slot * state.data.num_steps + step].focus();
  });
}

function draw(root, { data, drawn }) {
  root.className = `matrix${data.dark ? " dark" : ""}`;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", data.alt);
  root.style.setProperty("--side", `${data.side}px`);
  const [low, bar, high, words] = drawn.scale.children;
  [low.textContent, high.textContent] = data.ends;
  words.textContent = data.words;
  bar.style.background = `linear-gradient(to right, ${data.scale.join(", ")})`;
  drawn.cells.forEach((cell, index) => {
    const [state, color, ink, text, lines] = data.cells[index];
    const [step, slot] = [Number(cell.dataset.step), Number(cell.dataset.slot)];
    const isChosen = step === data.step && slot === data.slot;
    cell.className = `cell ${state}${step === data.step ? " now" : ""}${isChosen ? " chosen" : ""}`;
    cell.tabIndex = isChosen || (data.step === null && index === 0) ? 0 : -1;
    cell.setAttribute("aria-label", lines.join("; "));
    cell.setAttribute("aria-pressed", `${isChosen}`);
    const square = cell.firstChild;
    square.style.background = color ?? "";
    square.style.color = ink;
    square.textContent = text;
  });
}

export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector(".matrix");
  const state = root.state ?? {};
  const isNew = root.state === undefined;
  root.state = state;
  Object.assign(state, { data, pick: setTriggerValue });
  if (state.drawn?.size !== `${data.num_steps} ${data.num_slots}`) state.drawn = build(root, data);
  if (isNew) listen(root, state);
  draw(root, state);
}
