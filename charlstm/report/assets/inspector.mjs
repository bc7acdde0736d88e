// The inspector's page: a text, tinted by what goes on in a model that reads it.
import {
  MAX_BITS, RANKS, css, decodeBase64, decodeFloat16, decodeUint16, inkOn, layOut, loneLabel,
  rankValue, selectiveCells, similarStretches, symbolLabel, tint, unpackLevels,
} from "./charlstm.mjs";

const SELECTIVE = 6; // cells that are listed for a selection
const STRETCHES = 8; // like it
const COLUMNS = 80; // of a saved picture
const GATES = ["input gate i", "forget gate f", "candidate g", "output gate o"];

const find = (id) => document.getElementById(id);
const data = JSON.parse(find("data").textContent);
const ids = decodeUint16(data.ids);
const bits = decodeFloat16(data.bits);
const ranks = Int32Array.from(decodeUint16(data.ranks), (rank) => (rank === 65535 ? -1 : rank));
const top = decodeUint16(data.top);
const probabilities = decodeUint16(data.probabilities);
const count = ids.length;
const symbols = Array.from(ids, (id) => data.symbols[id]);
const levels = decodeBase64(data.levels);
const perRow = data.levelBits === 8 ? count : Math.ceil(count / 2);
const row = (number) => unpackLevels(levels, data.levelBits, number * perRow, count);
const states = data.cells.map((_, k) => row(k));
const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = () => (dark.matches ? "dark" : "light");

let cell = 0; // its place in data.cells
let cursor = 0; // pointed at, or moved to by a key
let marked = 0; // the last one that was clicked, or moved to by a key
let anchor = -1; // where a selection began
let selection = null;
let waitsForEnd = false; // the next character pointed at ends the selection

/** Make an element with text in it: text is never markup. */
function make(name, text = "", className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

// --- The text ---------------------------------------------------------------------------------

const spans = symbols.map((symbol, n) => {
  const label = symbolLabel(symbol, data.kind);
  const span = make("span", symbol === "\n" ? `${label}\n` : label);
  if (label !== symbol) span.className = "sign";
  span.dataset.n = n;
  return span;
});

/** Return the values, from -1 to 1, that the text is tinted by. */
function values() {
  const by = find("tint").value;
  if (by === "surprise") return bits.map((b) => (Number.isNaN(b) ? 0 : Math.min(1, b / MAX_BITS)));
  if (by === "rank") return Float32Array.from(ranks, rankValue);
  if (by === "state") return states[cell];
  if (cell >= data.gateCells) return new Float32Array(count);
  return row(data.cells.length + 4 * cell + Number(by));
}

function paint() {
  const shown = values();
  spans.forEach((span, n) => {
    const colour = tint(shown[n], theme());
    span.style.backgroundColor = css(colour);
    span.style.color = inkOn(colour);
  });
  drawLegend();
  const { layer, cell: unit, feature, r } = data.cells[cell];
  const by = find("tint").value;
  const isCell = by !== "surprise" && by !== "rank";
  const follows = r ? `its state follows: ${feature}, r = ${signed(r)}` : "its state is constant";
  const hasGates = by === "state" || cell < data.gateCells;
  const note = hasGates ? "" : ` Gates are kept of the first ${data.gateCells} cells of the list.`;
  find("about").textContent = isCell ? `Layer ${layer}, cell ${unit}; ${follows}.${note}` : "";
}

function drawLegend() {
  const by = find("tint").value;
  const swatches = legendSwatches(by).map(({ value, label }) => {
    const swatch = make("span", label, "swatch");
    const colour = tint(value, theme());
    swatch.style.backgroundColor = css(colour);
    swatch.style.color = inkOn(colour);
    return swatch;
  });
  find("legend").replaceChildren(make("span", legendTitle(by)), ...swatches);
}

function legendTitle(by) {
  if (by === "surprise") return "surprise, bits:";
  if (by === "rank") return "rank among the predictions:";
  return by === "state" ? "tanh(c):" : `${GATES[by]}:`;
}

function legendSwatches(by) {
  if (by === "surprise") {
    return [0, 2, 4, 6, 8].map((b) => ({
      value: b / MAX_BITS, label: b === MAX_BITS ? `${b} or more` : String(b),
    }));
  }
  if (by === "rank") return RANKS;
  const isSigned = by === "state" || by === "2";
  const shown = isSigned ? [-1, -0.5, 0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1];
  return shown.map((value) => ({ value, label: String(value).replace("-", "\u2212") }));
}

const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`;

// --- One character ----------------------------------------------------------------------------

function moveTo(n) {
  spans[cursor].classList.remove("cursor");
  cursor = Math.max(0, Math.min(count - 1, n));
  spans[cursor].classList.add("cursor");
  const here = make("span", loneLabel(symbols[cursor], data.kind), "symbol");
  find("here").replaceChildren("Character ", String(cursor + 1), ": ", here);
  const rank = ranks[cursor];
  find("surprise").textContent =
    rank < 0
      ? "The first: nothing predicts it."
      : `${bits[cursor].toFixed(2)} bits of surprise, ${ordinal(rank + 1)} of ` +
        `${data.symbols.length} predictions`;
  const k = data.predictions;
  const rows = Array.from({ length: k }, (_, place) => {
    const at = cursor * k + place;
    return prediction(data.symbols[top[at]], probabilities[at] / 65535);
  });
  find("predictions").replaceChildren(make("p", "Likeliest next:"), ...rows);
}

function prediction(symbol, probability) {
  const line = make("div", "", "prediction");
  const bar = make("div", "", "bar");
  bar.style.width = `${Math.max(1, 100 * probability)}%`;
  const shown = make("span", loneLabel(symbol, data.kind), "symbol");
  const colour = tint(probability, theme());
  shown.style.backgroundColor = css(colour);
  shown.style.color = inkOn(colour);
  line.append(shown, bar, make("span", `${(100 * probability).toFixed(1)} %`, "number"));
  return line;
}

function ordinal(n) {
  const tens = n % 100;
  const ending = tens > 10 && tens < 14 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th");
  return `${n}${ending}`;
}

// --- Cells ------------------------------------------------------------------------------------

function pick(number) {
  cell = number;
  find("layer").value = data.cells[cell].layer;
  find("cell").value = data.cells[cell].cell;
  if (["surprise", "rank"].includes(find("tint").value)) find("tint").value = "state";
  document.querySelectorAll("button[data-cell]").forEach((button) => {
    button.setAttribute("aria-pressed", String(Number(button.dataset.cell) === cell));
  });
  paint();
}

function pickByNumber() {
  const [layer, unit] = [Number(find("layer").value), Number(find("cell").value)];
  const number = data.cells.findIndex((known) => known.layer === layer && known.cell === unit);
  if (number >= 0) return pick(number);
  find("about").textContent = `Layer ${layer}, cell ${unit} is not kept in this page.`;
}

function cellButton(number) {
  const { layer, cell: unit } = data.cells[number];
  const button = make("button", data.layers > 1 ? `${layer}: ${unit}` : String(unit));
  button.type = "button";
  button.title = `Tint by layer ${layer}, cell ${unit}`;
  button.dataset.cell = number;
  button.addEventListener("click", () => pick(number));
  return button;
}

function tableRow(name, ...cells) {
  const line = make("tr");
  for (const content of cells) {
    const isNumber = typeof content === "string" && /^([+\u2212\d]|r$|inside$|else)/.test(content);
    const td = make(name, "", isNumber ? "number" : "");
    td.append(content);
    line.append(td);
  }
  return line;
}

function listCells() {
  const lines = data.cells.map(({ feature, r, untrained }, number) =>
    tableRow("td", cellButton(number), feature, `${signed(r)} (${untrained.toFixed(2)})`),
  );
  find("cells").replaceChildren(tableRow("th", "cell", "follows", "r"), ...lines);
}

// --- A selection ------------------------------------------------------------------------------

function select(from, to) {
  selection = from < 0 ? null : [Math.min(from, to), Math.max(from, to) + 1];
  spans.forEach((span, n) => {
    span.classList.toggle("selected", !!selection && n >= selection[0] && n < selection[1]);
  });
}

function tellOfSelection() {
  if (!selection) {
    find("selection").replaceChildren(make("p", "Nothing is selected.", "faint"));
    return;
  }
  const cells = selectiveCells(states, ...selection, SELECTIVE);
  const table = make("table");
  table.append(tableRow("th", "cell", "follows", "inside", "elsewhere"));
  for (const { cell: number, inside, outside } of cells) {
    const { feature } = data.cells[number];
    table.append(tableRow("td", cellButton(number), feature, signed(inside), signed(outside)));
  }
  const stretches = similarStretches(states, cells, selection, STRETCHES);
  const list = make("div");
  for (const [start, end] of stretches) {
    const button = make("button", excerpt(start, end), "symbol");
    button.type = "button";
    button.title = `Characters ${start + 1} to ${end}`;
    button.addEventListener("click", () => {
      moveTo(start);
      spans[start].scrollIntoView({ block: "center" });
    });
    list.append(button, " ");
  }
  const length = selection[1] - selection[0];
  find("selection").replaceChildren(
    make("p", `${length} characters. Cells whose mean state, tanh(c), differs most there:`),
    table,
    make("p", stretches.length ? "Other stretches like it:" : "No other stretch is like it."),
    list,
  );
}

function excerpt(start, end) {
  const shown = symbols.slice(start, Math.min(end, start + 24));
  const text = shown.map((symbol) => symbolLabel(symbol, data.kind)).join("");
  return end - start > 24 ? `${text}\u2026` : text;
}

// --- Pointer and keys -------------------------------------------------------------------------

const numberOf = (event) => {
  const found = document.elementFromPoint(event.clientX, event.clientY)?.dataset?.n;
  return found === undefined ? -1 : Number(found);
};

find("text").addEventListener("pointerdown", (event) => {
  const n = numberOf(event);
  if (n < 0) return;
  if (event.pointerType === "mouse") event.preventDefault();
  find("text").focus({ preventScroll: true });
  if (event.shiftKey || waitsForEnd) {
    select(waitsForEnd ? anchor : marked, n);
    tellOfSelection();
  } else if (event.pointerType === "mouse") {
    anchor = n;
    select(-1);
  }
  if (!event.shiftKey) marked = n;
  if (waitsForEnd) setWaiting(false);
  moveTo(n);
});
find("text").addEventListener("pointermove", (event) => {
  const n = numberOf(event);
  if (n < 0) return;
  if (event.buttons === 1 && event.pointerType === "mouse" && anchor >= 0 && n !== anchor) {
    select(anchor, n);
  }
  moveTo(n);
});
addEventListener("pointerup", () => {
  if (anchor >= 0 && !waitsForEnd) {
    anchor = -1;
    tellOfSelection();
  }
});
find("anchor").addEventListener("click", () => {
  anchor = marked;
  setWaiting(true);
});

function setWaiting(waits) {
  waitsForEnd = waits;
  if (!waits) anchor = -1;
  find("anchor").textContent = waits ? "… now choose where it ends" : "Select from here";
}

/** Return the character above or below the cursor in the text's own lines. */
function vertically(step) {
  const lineStart = (n) => symbols.lastIndexOf("\n", n - 1) + 1;
  const start = lineStart(cursor);
  const column = cursor - start;
  if (step < 0) {
    if (start === 0) return 0;
    return Math.min(lineStart(start - 1) + column, start - 1);
  }
  const end = symbols.indexOf("\n", cursor);
  if (end < 0 || end === count - 1) return count - 1;
  const nextEnd = symbols.indexOf("\n", end + 1);
  return Math.min(end + 1 + column, nextEnd < 0 ? count - 1 : nextEnd);
}

const KEYS = {
  ArrowLeft: () => cursor - 1,
  ArrowRight: () => cursor + 1,
  ArrowUp: () => vertically(-1),
  ArrowDown: () => vertically(1),
  Home: () => 0,
  End: () => count - 1,
};
find("text").addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    setWaiting(false);
    select(-1);
    tellOfSelection();
  }
  if (event.key === "Enter" && waitsForEnd) {
    select(anchor, cursor);
    setWaiting(false);
    tellOfSelection();
  }
  const target = KEYS[event.key];
  if (!target || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const n = Math.max(0, Math.min(count - 1, target()));
  if (event.shiftKey) {
    const fixed = selection && selection[0] === cursor ? selection[1] - 1 : selection?.[0];
    select(fixed ?? cursor, n);
    tellOfSelection();
  }
  moveTo(n);
  marked = n;
  spans[cursor].scrollIntoView({ block: "nearest" });
});

// --- Pictures ---------------------------------------------------------------------------------

const [WIDTH, HEIGHT, MARGIN] = [9, 19, 12]; // of a character; around the text

/** Call `rectangle(x, y, w, h, colour)` and `write(x, y, text, colour)` for the picture's parts. */
function drawPicture(rectangle, write) {
  const labels = symbols.map((symbol) => symbolLabel(symbol, data.kind));
  const { places, rows } = layOut(labels, symbols, COLUMNS);
  const by = find("tint").value;
  const paper = tint(0, theme());
  const size = [2 * MARGIN + COLUMNS * WIDTH, 2 * MARGIN + (rows + 2) * HEIGHT];
  rectangle(0, 0, ...size, css(paper));
  const title = find("about").textContent;
  let x = MARGIN;
  const put = (text, colour) => {
    const width = (Array.from(text).length + 1) * WIDTH;
    if (colour) rectangle(x, MARGIN, width, HEIGHT, css(colour));
    write(x + WIDTH / 2, MARGIN, text, inkOn(colour ?? paper));
    x += width;
  };
  put(legendTitle(by));
  for (const { value, label } of legendSwatches(by)) put(label, tint(value, theme()));
  if (title) write(x + WIDTH, MARGIN, title.split(";")[0], inkOn(paper));
  const shown = values();
  places.forEach(({ column, row: line, width }, n) => {
    const colour = tint(shown[n], theme());
    const [left, upper] = [MARGIN + column * WIDTH, MARGIN + (line + 2) * HEIGHT];
    rectangle(left, upper, width * WIDTH, HEIGHT, css(colour));
    if (symbols[n] !== " ") write(left, upper, labels[n], inkOn(colour));
  });
  return size;
}

const FONT = '14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace';

function svgPicture() {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const add = (name, attributes, text) => {
    const element = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    svg.append(element);
  };
  const [width, height] = drawPicture(
    (x, y, w, h, fill) => add("rect", { x, y, width: w, height: h, fill }),
    (x, y, text, fill) => add("text", { x, y: y + 14, fill, style: `font: ${FONT}` }, text),
  );
  for (const [key, value] of Object.entries({ width, height })) svg.setAttribute(key, value);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  return new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" });
}

function pngPicture() {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  const size = drawPicture(() => {}, () => {});
  const scale = 2 * size[1] < 16000 ? 2 : 1;
  [canvas.width, canvas.height] = size.map((length) => scale * length);
  context.scale(scale, scale);
  context.font = FONT;
  drawPicture(
    (x, y, w, h, colour) => {
      context.fillStyle = colour;
      context.fillRect(x, y, w, h);
    },
    (x, y, text, colour) => {
      context.fillStyle = colour;
      context.fillText(text, x, y + 14);
    },
  );
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

async function save(picture, name) {
  const link = make("a");
  link.href = URL.createObjectURL(await picture);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// --- Start ------------------------------------------------------------------------------------

find("title").textContent = data.title;
find("summary").textContent = data.summary;
for (let layer = 0; layer < data.layers; layer++) {
  const option = make("option", String(layer));
  option.value = layer;
  find("layer").append(option);
}
find("cell").max = data.hidden - 1;
find("text").replaceChildren(...spans);
find("tint").addEventListener("change", paint);
find("layer").addEventListener("change", pickByNumber);
find("cell").addEventListener("input", pickByNumber);
find("previous").addEventListener("click", () => pick(Math.max(0, cell - 1)));
find("next").addEventListener("click", () => pick(Math.min(data.cells.length - 1, cell + 1)));
find("save-svg").addEventListener("click", () => save(svgPicture(), "charlstm.svg"));
find("save-png").addEventListener("click", () => save(pngPicture(), "charlstm.png"));
dark.addEventListener("change", () => {
  paint();
  moveTo(cursor);
});
listCells();
pick(0);
find("tint").value = "surprise";
paint();
moveTo(0);
