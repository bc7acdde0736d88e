// Unit tests of the pages' shared script: node --test tests/javascript
import assert from "node:assert/strict";
import { test } from "node:test";
import * as page from "../../charlstm/report/assets/charlstm.mjs";

const close = (a, b, tolerance = 1e-6) => assert.ok(Math.abs(a - b) <= tolerance, `${a}, not ${b}`);

test("float16: normal, subnormal, signed, infinite and no number", () => {
  const known = [[0x3c00, 1], [0xc000, -2], [0x7bff, 65504], [0x0001, 2 ** -24], [0x3555, 0.333251953125]];
  for (const [bits, value] of known) assert.equal(page.float16(bits), value);
  assert.equal(page.float16(0xfc00), -Infinity);
  assert.ok(Number.isNaN(page.float16(0x7e00)));
  assert.deepEqual([...page.decodeFloat16("ADwAwA==")], [1, -2]);
});

test("levels of 4 and of 8 bits", () => {
  const bytes = Uint8Array.of(99, 0xe0, 0x07, 0, 127, 254);
  assert.deepEqual([...page.unpackLevels(bytes, 4, 1, 3)], [-1, 1, 0]);
  assert.deepEqual([...page.unpackLevels(bytes, 8, 3, 3)], [-1, 0, 1]);
});

test("tensors: signed integers times the scale of their row", () => {
  const scales = Buffer.from(Float32Array.of(0.5, 2).buffer).toString("base64");
  const high = Buffer.from(Int16Array.of(0, -1, 1, -32768).buffer).toString("base64");
  const low = Buffer.from(Uint8Array.of(0xe1, 0x13)).toString("base64");
  const matrix = page.decodeTensors([{ name: "m", shape: [2, 2], scales, high, low }]).m;
  assert.deepEqual([...matrix], [0.5, -1, 38, -1048574]); // of 1, -2, 19 and -524287
});

test("one step of a network of one unit, by hand", () => {
  const tensors = {
    "lstm.weight_ih_l0": Float32Array.of(0, 1, 0, 2, 0, 3, 0, 4), // rows i, f, g, o
    "lstm.weight_hh_l0": Float32Array.of(0.1, 0.2, 0.3, 0.4),
    "lstm.bias_l0": Float32Array.of(0.5, 0.6, 0.7, 0.8),
    "head.weight": Float32Array.of(1, -2),
    "head.bias": Float32Array.of(0.25, 0),
  };
  const network = new page.Network({ symbols: 2, hidden: 1, layers: 1, tensors });
  const state = network.zeroState();
  state.h[0][0] = 0.5;
  state.c[0][0] = -1;
  const logits = network.step(1, state);
  const sigmoid = (z) => 1 / (1 + Math.exp(-z));
  const c = sigmoid(2 + 0.1 + 0.6) * -1 + sigmoid(1 + 0.05 + 0.5) * Math.tanh(3 + 0.15 + 0.7);
  const h = sigmoid(4 + 0.2 + 0.8) * Math.tanh(c);
  close(state.c[0][0], c);
  close(state.h[0][0], h);
  close(logits[0], h + 0.25);
  close(logits[1], -2 * h);
});

test("random numbers: the same for a seed, others for another, spread over [0, 1)", () => {
  const take = (seed) => Array.from({ length: 1000 }, page.randomNumbers(seed));
  assert.deepEqual(take(7), take(7));
  for (const other of [8, 2 ** 32 + 7]) assert.notDeepEqual(take(7), take(other));
  const drawn = take(7);
  assert.ok(drawn.every((u) => u >= 0 && u < 1));
  close(drawn.reduce((sum, u) => sum + u, 0) / 1000, 0.5, 0.05);
});

test("choosing: temperature, top-p, and ties", () => {
  const logits = Float32Array.from([0.1, 0.6, 0.3], Math.log);
  const counts = (temperature, topP) => {
    const found = [0, 0, 0];
    for (let u = 0.0005; u < 1; u += 0.001) found[page.choose(logits, temperature, topP, u)]++;
    return found;
  };
  assert.deepEqual(counts(1, 1), [100, 600, 300]);
  assert.deepEqual(counts(0, 1), [0, 1000, 0]);
  assert.deepEqual(counts(1, 0.55), [0, 1000, 0]);
  assert.deepEqual(counts(1, 0.85), [0, 667, 333]);
  assert.ok(counts(2, 1)[0] > 150);
  assert.equal(page.choose(Float32Array.of(1, 1), 0, 1, 0.9), 0);
});

test("surprise is in bits, and large logits do not overflow", () => {
  close(page.surprise(Float32Array.of(1000, 1000, 1000, 1000), 2), 2);
});

test("symbols: what acts upon a page, or cannot be seen, is shown by its number", () => {
  const labels = {
    a: "a", "<": "<", " ": " ", "\n": "\u21b5", "\t": "\u21e5", "\u202e": "\u2039202E\u203a",
    "\u200f": "\u2039200F\u203a", "\0": "\u20390000\u203a", "\u00a0": "\u203900A0\u203a",
    "\ud800": "\u2039D800\u203a", "\u0301": "\u20390301\u203a", "\u{1f600}": "\u{1f600}",
    "\u2028": "\u20392028\u203a", "\u05d0": "\u05d0",
  };
  for (const [symbol, label] of Object.entries(labels)) assert.equal(page.symbolLabel(symbol), label);
  assert.equal(page.symbolLabel("\u00e9", "bytes"), "\u2039E9\u203a");
  assert.equal(page.loneLabel(" "), "\u2423");
});

test("encoding: characters beyond 16 bits, bytes, and what is unknown", () => {
  const found = page.encode("a\u{1f600}bxax", ["a", "b", "\u{1f600}"]);
  assert.deepEqual(found, { ids: [0, 2, 1, 0], unknown: ["x"] });
  assert.deepEqual(page.encode("\u00e9", ["\u00a9", "\u00c3"], "bytes").ids, [1, 0]);
});

test("tints: plus and minus differ, text on them can be read", () => {
  assert.notDeepEqual(page.tint(1, "light"), page.tint(-1, "light"));
  assert.deepEqual(page.tint(NaN, "dark"), page.tint(0, "dark"));
  assert.deepEqual(page.tint(5, "dark"), page.tint(1, "dark"));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const theme of ["light", "dark"]) {
    for (let value = -1; value <= 1; value += 0.05) {
      const colour = page.tint(value, theme);
      const [low, high] = [luminance(colour), page.inkOn(colour) === "#000000" ? 0 : 1].sort();
      assert.ok((high + 0.05) / (low + 0.05) >= 4.5, `${theme} ${value}`); // as WCAG asks
    }
  }
});

test("ranks", () => {
  assert.deepEqual([-1, 0, 1, 4, 5, 19, 20, 900].map(page.rankValue), [0, 0, 0.3, 0.3, 0.6, 0.6, 1, 1]);
});

test("cells that are on in a stretch, and stretches like it", () => {
  const on = Float32Array.of(0, 0, 1, 1, 0, 0, 1, 1, 1, 0);
  const noise = Float32Array.of(1, 0, 1, 0, 1, 0, 1, 0, 1, 0);
  const off = on.map((v) => -v);
  const states = [noise, on, off, new Float32Array(10)];
  const cells = page.selectiveCells(states, 2, 4, 2);
  assert.deepEqual(cells.map(({ cell }) => cell).sort(), [1, 2]);
  const first = cells.find(({ cell }) => cell === 1);
  close(first.inside, 1);
  close(first.outside, 3 / 8);
  assert.deepEqual(page.similarStretches(states, cells, [2, 4], 5), [[6, 9]]);
  assert.deepEqual(page.similarStretches(states, [], [2, 4], 5), []);
});

test("the liveliest cell", () => {
  const history = [0, 1, 2].map((t) => [Float32Array.of(5, 5), Float32Array.of(0.1 * t, t % 2)]);
  assert.deepEqual(page.liveliestCell(history), [1, 1]);
});

test("pictures: rows end at newlines and at the margin", () => {
  const symbols = ["a", "b", "\n", "\u202e", "c"];
  const { places, rows } = page.layOut(["a", "b", "\u21b5", "\u2039202E\u203a", "c"], symbols, 6);
  assert.deepEqual(places.map(({ row, column }) => [row, column]), [[0, 0], [0, 1], [0, 2], [1, 0], [2, 0]]);
  assert.equal(rows, 3);
});
