// What the report says: its arrays in the model's order, how bad each is, and the texts of tokens.
"use strict";

const report = JSON.parse(document.getElementById("data").textContent);
const state = { prompt: 0, tensor: null, tap: "worst", metric: null };

const isCompared = (t) => t.metrics !== undefined;
const isBad = (t) => t.verdict === "fail" || t.verdict === "error";
const prompt = () => report.prompts[state.prompt];
// The layer that an array is in, as a label: "layer 3", or the path of a captured model's block.
const layerOf = (t) => t.block ?? (t.layer === undefined ? undefined : `layer ${t.layer}`);
function tapOf(t) {
  if (t.block && t.name.startsWith(`${t.block}.`)) return t.name.slice(t.block.length + 1);
  return t.layer === undefined ? t.name : t.name.replace(/^layer_\d+_/, "");
}
const firstBad = () => prompt().first_divergence?.tensor;

const METRICS = [
  {
    title: "error from the oracle",
    of: (t) => (t.noise_ratio === undefined ? undefined : t.noise_ratio * t.noise),
    noise: (t) => t.noise,
    limit: (t) => t.noise * t.limits?.noise_ratio,
  },
  {
    title: "noise ratio",
    of: (t) => t.noise_ratio,
    noise: (t) => (t.noise === undefined ? undefined : 1),
    limit: (t) => t.limits?.noise_ratio,
  },
  { title: "relative L2", of: (t) => t.metrics.relative_l2, limit: (t) => t.limits?.relative_l2 },
  { title: "MSE", of: (t) => t.metrics.mse, limit: (t) => t.limits?.mse },
  { title: "max abs diff", of: (t) => t.metrics.max_abs, limit: (t) => t.limits?.max_abs },
  {
    title: "1 - cosine",
    of: (t) => Math.max(1 - t.metrics.cosine, 0),
    limit: (t) => 1 - t.limits?.cosine,
  },
  { title: "mean BF16 steps", of: (t) => t.metrics.mean_ulp, limit: () => undefined },
];

// The taps in rows, in the model's order: what comes before the layers, the layers, what comes after.
function rows() {
  const all = [];
  for (const t of prompt().tensors) {
    if (!isCompared(t) || t.name === "input_ids") continue;
    const layer = layerOf(t);
    const label = layer ?? t.name;
    const last = all.at(-1);
    if (last && last.label === label) last.tensors.push(t);
    else all.push({ label, layer, tensors: [t] });
  }
  return all;
}

const RANK = { error: 3, fail: 2, coarse: 1 };

// How bad a tensor is: by its verdict first, then by its error. "NaN" counts as the largest error.
function badness(t) {
  const ratio = t.noise_ratio === undefined ? t.metrics.relative_l2
    : Math.max(Number(t.noise_ratio), Number(t.position_ratio ?? 0));
  const far = Number(ratio);
  return [RANK[t.verdict] ?? 0, Number.isNaN(far) ? Infinity : far];
}

const isWorse = ([rank, far], [otherRank, otherFar]) =>
  rank > otherRank || (rank === otherRank && far > otherFar);
const worst = (tensors) => tensors.reduce((a, b) => (isWorse(badness(b), badness(a)) ? b : a));

function chosen(row) {
  if (state.tap === "worst" || row.layer === undefined) return worst(row.tensors);
  return row.tensors.find((t) => tapOf(t) === state.tap);
}

function point(t, label) {
  const metric = METRICS[state.metric];
  const number = (x) => (x === undefined || Number.isNaN(x) ? null : x);
  return {
    label,
    name: t.name,
    verdict: t.verdict,
    value: metric.of(t) ?? null,
    noise: number(metric.noise?.(t)),
    limit: number(metric.limit(t)),
  };
}

function shortLabel(row) {
  return (row.layer ?? row.label).replace(/^layer (?=\d+$)/, "").replace(/_output$/, "");
}

// The prompt's positions. Arrays with only the last position have fewer, rotary tables may have more.
function positions() {
  const taps = prompt().tensors.filter((t) => isCompared(t) && !t.name.startsWith("rope_"));
  return Math.max(prompt().input_ids.length, ...taps.map((t) => t.metrics.position_error.length));
}

const visible = (text) => text.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/^ | $/g, "␣");

function tokenText(id) {
  if (id < 0) return "(end)";
  const text = report.token_text?.[id];
  return text === undefined ? `#${id}` : visible(text);
}

// The label of a position of the prompt: its number, and its token if that is known.
function positionLabel(i) {
  const p = prompt();
  const text = p.tokens_text[i];
  if (text) return `${i} ${visible(text)}`;
  return p.input_ids[i] === undefined ? String(i) : `${i} #${p.input_ids[i]}`;
}
