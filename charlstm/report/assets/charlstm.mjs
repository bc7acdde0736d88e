// What the pages share: numbers in text, the network, sampling, colours, symbols as data.
// It touches no document, so that node can test it.

// --- Numbers in text --------------------------------------------------------------------------

/** Return the bytes of base64 text. */
export function decodeBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Return base64 text of little-endian 16-bit integers as a Uint16Array. */
export function decodeUint16(text) {
  const bytes = decodeBase64(text);
  const values = new Uint16Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) values[i] = bytes[2 * i] | (bytes[2 * i + 1] << 8);
  return values;
}

/** Return the number that the bits of a float16 stand for. */
export function float16(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Return base64 text of float16 numbers as a Float32Array. */
export function decodeFloat16(text) {
  return Float32Array.from(decodeUint16(text), float16);
}

/**
 * Return `count` numbers in [-1, 1] that were packed as levels of 8 or 4 bits from byte `start` on.
 * The middle level, 127 or 7, is 0; of two levels in a byte, the low half comes first.
 */
export function unpackLevels(bytes, bits, start, count) {
  const middle = bits === 8 ? 127 : 7;
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const byte = bits === 8 ? bytes[start + i] : bytes[start + (i >> 1)];
    const level = bits === 8 ? byte : i % 2 ? byte >> 4 : byte & 15;
    values[i] = (level - middle) / middle;
  }
  return values;
}

// --- The network ------------------------------------------------------------------------------

const sigmoid = (z) => 1 / (1 + Math.exp(-z));

/** A stacked LSTM over one-hot symbols; tensors bear PyTorch's names and lie as PyTorch's do. */
export class Network {
  /** `tensors` maps a name to a Float32Array; `symbols` is V, `hidden` H, `layers` L. */
  constructor({ symbols, hidden, layers, tensors }) {
    Object.assign(this, { symbols, hidden, layers, tensors });
  }

  /** Return the state before any symbol: h and c of each layer, zeros. */
  zeroState() {
    const zeros = () => Array.from({ length: this.layers }, () => new Float32Array(this.hidden));
    return { h: zeros(), c: zeros() };
  }

  /** Read one symbol: change `state` in place, and return the logits of the next symbol, (V,). */
  step(id, state) {
    const { hidden, tensors } = this;
    for (let layer = 0; layer < this.layers; layer++) {
      const z = Float32Array.from(tensors[`lstm.bias_l${layer}`]);
      const weightIh = tensors[`lstm.weight_ih_l${layer}`];
      if (layer === 0) addColumn(z, weightIh, id, this.symbols);
      else addProduct(z, weightIh, state.h[layer - 1]);
      addProduct(z, tensors[`lstm.weight_hh_l${layer}`], state.h[layer]);
      const h = state.h[layer];
      const c = state.c[layer];
      for (let k = 0; k < hidden; k++) {
        const i = sigmoid(z[k]);
        const f = sigmoid(z[hidden + k]);
        const g = Math.tanh(z[2 * hidden + k]);
        const o = sigmoid(z[3 * hidden + k]);
        c[k] = f * c[k] + i * g;
        h[k] = o * Math.tanh(c[k]);
      }
    }
    const logits = Float32Array.from(tensors["head.bias"]);
    addProduct(logits, tensors["head.weight"], state.h[this.layers - 1]);
    return logits;
  }
}

/** Add matrix times x to y; the matrix lies row by row. */
function addProduct(y, matrix, x) {
  const n = x.length;
  for (let row = 0, start = 0; row < y.length; row++, start += n) {
    let sum = 0;
    for (let k = 0; k < n; k++) sum += matrix[start + k] * x[k];
    y[row] += sum;
  }
}

/** Add a column of a matrix with `columns` of them to y. */
function addColumn(y, matrix, column, columns) {
  for (let row = 0; row < y.length; row++) y[row] += matrix[row * columns + column];
}

/**
 * Return the tensors of a page: integers of 20 bits, times a scale for each row.
 * `parts` has name, shape, scales (base64 of float32), high (base64 of int16) and low (base64 of
 * the last 4 bits, two in a byte) of each.
 */
export function decodeTensors(parts) {
  const tensors = {};
  for (const { name, shape, scales, high, low } of parts) {
    const factors = new Float32Array(decodeBase64(scales).buffer);
    const upper = decodeUint16(high);
    const lower = decodeBase64(low);
    const columns = shape.length === 2 ? shape[1] : upper.length;
    const tensor = new Float32Array(upper.length);
    for (let k = 0; k < tensor.length; k++) {
      const half = k % 2 ? lower[k >> 1] >> 4 : lower[k >> 1] & 15;
      const integer = ((upper[k] << 16) >> 12) + half; // its sign is that of the upper 16 bits
      tensor[k] = integer * factors[Math.floor(k / columns)];
    }
    tensors[name] = tensor;
  }
  return tensors;
}

// --- Sampling ---------------------------------------------------------------------------------

/** Return a function that draws numbers in [0, 1), the same for the same seed (sfc32). */
export function randomNumbers(seed) {
  let [a, b, c, d] = [0x9e3779b9, 0x243f6a88, seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];
  const draw = () => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return (t >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < 16; i++) draw();
  return draw;
}

/** Return the probabilities of logits. */
export function softmax(logits, temperature = 1) {
  let highest = -Infinity;
  for (const y of logits) highest = Math.max(highest, y);
  const weights = Float64Array.from(logits, (y) => Math.exp((y - highest) / temperature));
  const total = weights.reduce((sum, w) => sum + w, 0);
  return weights.map((w) => w / total);
}

/** Return how surprising a symbol is, in bits, where the model gave these logits. */
export function surprise(logits, id) {
  return -Math.log2(softmax(logits)[id]);
}

/**
 * Choose a symbol: at temperature 0 the likeliest, else by `u` in [0, 1) among the fewest,
 * likeliest symbols whose probability reaches `topP`.
 */
export function choose(logits, temperature, topP, u) {
  const order = Array.from(logits.keys()).sort((v, w) => logits[w] - logits[v] || v - w);
  if (temperature === 0) return order[0];
  const probabilities = softmax(logits, temperature);
  let kept = 0;
  let total = 0;
  while (kept < order.length && (kept === 0 || total < topP)) total += probabilities[order[kept++]];
  let rest = u * total;
  for (let k = 0; k < kept; k++) {
    rest -= probabilities[order[k]];
    if (rest < 0) return order[k];
  }
  return order[kept - 1];
}

// --- Symbols ----------------------------------------------------------------------------------

// Controls, formats (such as right-to-left marks), separators, lone surrogates, combining marks,
// and what has no character: shown by their numbers, or they would act upon the page or vanish.
const HIDDEN = /^[\p{C}\p{Z}\p{M}]$/u;

/** Return what to show for a symbol: itself, a sign, or its number in brackets. */
export function symbolLabel(symbol, kind = "characters") {
  if (symbol === "\n") return "\u21b5";
  if (symbol === "\t") return "\u21e5";
  if (symbol === " ") return " ";
  const code = symbol.codePointAt(0);
  const isByte = kind === "bytes" && code > 126;
  if (!isByte && !HIDDEN.test(symbol)) return symbol;
  return `\u2039${code.toString(16).toUpperCase().padStart(kind === "bytes" ? 2 : 4, "0")}\u203a`;
}

/** Return the label of a symbol that stands alone, where a space would not be seen. */
export function loneLabel(symbol, kind) {
  return symbol === " " ? "\u2423" : symbolLabel(symbol, kind);
}

/** Return the ids of a text, and the symbols in it that are unknown, each once. */
export function encode(text, symbols, kind = "characters") {
  const numbers = new Map(symbols.map((symbol, id) => [symbol, id]));
  const parts =
    kind === "bytes"
      ? Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte))
      : Array.from(text);
  const unknown = new Set(parts.filter((part) => !numbers.has(part)));
  const ids = parts.filter((part) => numbers.has(part)).map((part) => numbers.get(part));
  return { ids, unknown: [...unknown] };
}

// --- Colours ----------------------------------------------------------------------------------

// Orange for much and for plus, blue for minus: apart for every kind of colour vision.
const PALETTES = {
  light: { none: [255, 255, 255], plus: [214, 96, 12], minus: [33, 102, 172] },
  dark: { none: [24, 26, 30], plus: [240, 140, 50], minus: [90, 160, 230] },
};

/** Return the tint, [r, g, b], of a value from -1 to 1; `theme` is "light" or "dark". */
export function tint(value, theme) {
  const { none, plus, minus } = PALETTES[theme];
  const end = value < 0 ? minus : plus;
  const share = Number.isFinite(value) ? Math.min(1, Math.abs(value)) : 0;
  return none.map((from, k) => Math.round(from + (end[k] - from) * share));
}

/** Return black or white, whichever is read better on a colour: the higher contrast. */
export function inkOn(colour) {
  const [r, g, b] = colour.map((v) =>
    v <= 10 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
}

/** Return a colour as CSS. */
export const css = (colour) => `rgb(${colour.join(", ")})`;

export const MAX_BITS = 8; // the surprise that has the deepest tint
export const RANKS = [
  { upTo: 0, label: "1st", value: 0 },
  { upTo: 4, label: "2nd to 5th", value: 0.3 },
  { upTo: 19, label: "6th to 20th", value: 0.6 },
  { upTo: Infinity, label: "beyond", value: 1 },
];

/** Return the value to tint a rank by; rank 0 is the likeliest, and none (-1) has no tint. */
export function rankValue(rank) {
  return rank < 0 ? 0 : RANKS.find(({ upTo }) => rank <= upTo).value;
}

// --- Stretches of text ------------------------------------------------------------------------

/**
 * Return the cells that are on in a stretch and off elsewhere, the most selective first.
 * `states` has each cell's values (N); the stretch is start..end, the end not included. Each has
 * `cell`, its means `inside` and `outside`, and their distance in standard deviations, `score`.
 */
export function selectiveCells(states, start, end, count) {
  const found = states.map((values, cell) => {
    let inside = 0;
    let total = 0;
    let squares = 0;
    values.forEach((v, n) => {
      total += v;
      squares += v * v;
      if (n >= start && n < end) inside += v;
    });
    const length = values.length;
    const spread = Math.sqrt(Math.max(0, squares / length - (total / length) ** 2));
    const outside = (total - inside) / Math.max(1, length - (end - start));
    inside /= end - start;
    return { cell, inside, outside, score: spread > 0 ? Math.abs(inside - outside) / spread : 0 };
  });
  return found.sort((a, b) => b.score - a.score).slice(0, count);
}

/**
 * Return other stretches, [start, end), where at least `share` of the cells are nearer to their
 * mean inside the selection than to that outside: the longest first.
 */
export function similarStretches(states, cells, selection, count, share = 0.65) {
  const length = states[0].length;
  const stretches = [];
  let start = -1;
  for (let n = 0; n <= length; n++) {
    const on = n < length ? cells.filter((found) => isOn(states[found.cell][n], found)).length : 0;
    const isIn = cells.length > 0 && n < length && on >= share * cells.length;
    if (isIn && start < 0) start = n;
    if (!isIn && start >= 0) {
      if (start >= selection[1] || n <= selection[0]) stretches.push([start, n]);
      start = -1;
    }
  }
  return stretches.sort((a, b) => b[1] - b[0] - (a[1] - a[0])).slice(0, count);
}

const isOn = (value, { inside, outside }) =>
  Math.abs(value - inside) < Math.abs(value - outside);

/** Return the [layer, cell] whose tanh(c) varies most; `history` has each layer's c, by time. */
export function liveliestCell(history) {
  let [best, place] = [-1, [0, 0]];
  history[0].forEach((c, layer) => {
    for (let cell = 0; cell < c.length; cell++) {
      const values = history.map((states) => Math.tanh(states[layer][cell]));
      const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
      const spread = values.reduce((sum, v) => sum + (v - mean) ** 2, 0);
      if (spread > best) [best, place] = [spread, [layer, cell]];
    }
  });
  return place;
}

// --- Pictures of text -------------------------------------------------------------------------

/**
 * Lay out labels on a grid: return {column, row, width} of each, and the number of rows.
 * A newline ends its row; other rows are `columns` wide.
 */
export function layOut(labels, symbols, columns) {
  let [column, row] = [0, 0];
  const places = labels.map((label, n) => {
    const width = Array.from(label).length;
    if (column > 0 && column + width > columns) [column, row] = [0, row + 1];
    const place = { column, row, width };
    column += width;
    if (symbols[n] === "\n") [column, row] = [0, row + 1];
    return place;
  });
  return { places, rows: column > 0 ? row + 1 : row };
}
