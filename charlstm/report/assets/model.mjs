// The page of a model: it writes, here, with its surprise and one cell shown.
import {
  MAX_BITS, Network, choose, css, decodeTensors, encode, inkOn, loneLabel, randomNumbers,
  liveliestCell, surprise, symbolLabel, tint,
} from "./charlstm.mjs";

const TRACE = 240; // characters
const FRAME = 12; // milliseconds of writing between two frames

const find = (id) => document.getElementById(id);
const data = JSON.parse(find("data").textContent);
const network = new Network({
  symbols: data.symbols.length,
  hidden: data.hidden,
  layers: data.layers,
  tensors: decodeTensors(data.tensors),
});
const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = () => (dark.matches ? "dark" : "light");
let job = null; // what is being written
let isCellChosen = false; // else it is the one that varies most

/** Everything that one text needs, from its beginning on; the same options, the same text. */
class Writer {
  constructor(beginning, { temperature, topP, seed, length }) {
    Object.assign(this, { temperature, topP, length });
    this.draw = randomNumbers(seed);
    this.state = network.zeroState();
    this.decoder = new TextDecoder(); // of bytes, which may be parts of characters
    this.pending = [...beginning];
    this.logits = null;
    this.written = 0;
    this.states = [];
    if (beginning.length === 0) {
      // As `charlstm sample` does: a newline is read, where there is one, and not shown.
      this.logits = network.step(Math.max(0, data.symbols.indexOf("\n")), this.state);
    }
  }

  get isDone() {
    return this.pending.length === 0 && this.written >= this.length;
  }

  /** Read or write one symbol; return its id, its surprise in bits, and whether it was given. */
  next() {
    const isGiven = this.pending.length > 0;
    const id = isGiven
      ? this.pending.shift()
      : choose(this.logits, this.temperature, this.topP, this.draw());
    const bits = this.logits ? surprise(this.logits, id) : 0;
    this.logits = network.step(id, this.state);
    if (!isGiven) this.written++;
    this.states.push(this.state.c.map((c) => Float32Array.from(c)));
    if (this.states.length > TRACE) this.states.shift();
    return { id, bits, isGiven };
  }

  /** Return the text to show for a symbol: of bytes, nothing until a character is whole. */
  label(id) {
    const symbol = data.symbols[id];
    if (data.kind !== "bytes" || symbol.charCodeAt(0) < 128) return symbolLabel(symbol, "bytes");
    const whole = this.decoder.decode(Uint8Array.of(symbol.charCodeAt(0)), { stream: true });
    return Array.from(whole, (character) => symbolLabel(character)).join("");
  }
}

/** Return a span of one symbol, tinted by surprise. */
function span(writer, { id, bits, isGiven }) {
  const element = document.createElement("span");
  const symbol = data.symbols[id];
  const label = data.kind === "bytes" ? writer.label(id) : symbolLabel(symbol);
  element.textContent = symbol === "\n" ? "\n" : label;
  element.dataset.bits = bits;
  element.title = `${bits.toFixed(2)} bits${isGiven ? ", given" : ""}`;
  if (isGiven) element.style.fontWeight = "bold";
  paint(element);
  return element;
}

function paint(element) {
  const colour = tint(element.dataset.bits / MAX_BITS, theme());
  element.style.backgroundColor = css(colour);
  element.style.color = inkOn(colour);
}

function drawLegend() {
  const swatches = [0, 2, 4, 6, 8].map((bits) => {
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.dataset.bits = bits;
    swatch.textContent = bits === MAX_BITS ? `${bits} or more` : bits;
    paint(swatch);
    return swatch;
  });
  const note = document.createElement("span");
  note.className = "faint";
  note.textContent = "(bold: given)";
  find("legend").replaceChildren("surprise, bits:", ...swatches, note);
}

function drawTrace() {
  if (!isCellChosen && job && (job.isDone || job.states.length === TRACE)) {
    [find("layer").value, find("cell").value] = liveliestCell(job.states);
    isCellChosen = true;
  }
  const [layer, cell] = [Number(find("layer").value), Number(find("cell").value)];
  const states = job?.states ?? [];
  const start = TRACE - states.length;
  const points = states.map((c, n) => `${start + n},${-Math.tanh(c[layer]?.[cell] ?? 0)}`);
  find("trace").setAttribute("points", points.join(" "));
}

function say(text) {
  find("status").textContent = text;
}

/** Write for some milliseconds, show it, and come back in the next frame. */
function frame(writer, started, unknown) {
  if (job !== writer || writer.isStopped) return;
  const spans = [];
  const end = performance.now() + FRAME;
  while (!writer.isDone && performance.now() < end) spans.push(span(writer, writer.next()));
  find("text").append(...spans);
  drawTrace();
  const rate = writer.written / ((performance.now() - started) / 1000);
  const done = writer.isDone ? "done" : "writing";
  say(`${unknown}${writer.written} characters, ${Math.round(rate)} a second, ${done}`);
  if (writer.isDone) finish();
  else requestAnimationFrame(() => frame(writer, started, unknown));
}

function finish() {
  find("stop").disabled = true;
}

function options() {
  return {
    temperature: Number(find("temperature").value),
    topP: Number(find("top-p").value),
    seed: Number(find("seed").value),
    length: Number(find("length").value),
  };
}

function write(event) {
  event.preventDefault();
  const { ids, unknown } = encode(find("beginning").value, data.symbols, data.kind);
  const names = unknown.map((symbol) => loneLabel(symbol, data.kind)).join(" ");
  const note = unknown.length ? `The model does not know ${names}: left out. ` : "";
  job = new Writer(ids, options());
  find("text").replaceChildren();
  find("stop").disabled = false;
  frame(job, performance.now(), note);
}

function stop() {
  if (job) job.isStopped = true;
  say(`${job?.written ?? 0} characters, stopped`);
  finish();
}

function showSliders() {
  find("temperature-shown").value = Number(find("temperature").value).toFixed(2);
  find("top-p-shown").value = Number(find("top-p").value).toFixed(2);
}

find("title").textContent = data.title;
find("summary").textContent = data.summary;
for (let layer = 0; layer < data.layers; layer++) find("layer").append(new Option(layer, layer));
find("cell").max = data.hidden - 1;
find("form").addEventListener("submit", write);
find("stop").addEventListener("click", stop);
for (const id of ["temperature", "top-p"]) {
  find(id).addEventListener("input", () => {
    showSliders();
    if (job) Object.assign(job, { temperature: options().temperature, topP: options().topP });
  });
}
for (const id of ["layer", "cell"]) {
  find(id).addEventListener("input", () => {
    isCellChosen = true;
    drawTrace();
  });
}
dark.addEventListener("change", () => {
  drawLegend();
  find("text").querySelectorAll("span").forEach(paint);
});
showSliders();
drawLegend();

// For the browser's console: the model's logits after each symbol of a text.
globalThis.charlstm = {
  logits(text) {
    const state = network.zeroState();
    const { ids } = encode(text, data.symbols, data.kind);
    return ids.map((id) => Array.from(network.step(id, state)));
  },
};
