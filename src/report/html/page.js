// The page around the charts: what the user has chosen, and how it is shown.
"use strict";

const report = JSON.parse(document.getElementById("data").textContent);
const state = { prompt: 0, tensor: null, tap: "worst", metric: null };
const $ = (id) => document.getElementById(id);

// Makes an element with properties and children. Text is never parsed as HTML.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((c) => c !== null && c !== undefined));
  return element;
}

const isCompared = (t) => t.metrics !== undefined;
const isBad = (t) => t.verdict === "fail" || t.verdict === "error";
const prompt = () => report.prompts[state.prompt];
const tapOf = (t) => (t.layer === undefined ? t.name : t.name.replace(/^layer_\d+_/, ""));
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
    const label = t.layer === undefined ? t.name : `layer ${t.layer}`;
    const last = all.at(-1);
    if (last && last.label === label) last.tensors.push(t);
    else all.push({ label, layer: t.layer, tensors: [t] });
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
  return row.layer !== undefined ? String(row.layer) : row.label.replace(/_output$/, "");
}

function drawErrorChart() {
  const points = rows()
    .map((row) => [chosen(row), shortLabel(row)])
    .filter(([t]) => t !== undefined)
    .map(([t, label]) => point(t, label))
    .filter((p) => p.value !== null);
  drawErrors("errors", points, METRICS[state.metric], open);
}

const MOST_COLUMNS = 160;

function drawHeatChart() {
  const shown = rows()
    .filter((row) => !row.label.startsWith("rope_"))
    .map((row) => {
      const t = state.tap === "worst" ? worst(row.tensors) : chosen(row);
      return t && { label: shortLabel(row), name: t.name, t };
    })
    .filter((row) => row !== undefined);
  const length = Math.max(1, ...shown.map((row) => row.t.metrics.position_error.length));
  const size = Math.ceil(length / MOST_COLUMNS);
  const columns = Array.from({ length: Math.ceil(length / size) }, (_x, i) =>
    size === 1 ? positionLabel(i) : `${i * size}–${Math.min((i + 1) * size, length) - 1}`,
  );
  const byNoise = shown.some((row) => row.t.noise !== undefined);
  for (const row of shown) {
    const errors = row.t.metrics.position_error;
    const scale = byNoise && row.t.noise ? row.t.noise : 1;
    row.values = columns.map((_c, i) => {
      // An array with only the last position is placed at the end.
      const from = i * size - (length - errors.length);
      const bin = errors.slice(Math.max(from, 0), Math.max(from + size, 0));
      if (bin.length === 0) return null;
      const odd = bin.find((e) => typeof e === "string");
      return odd ?? Math.max(...bin) / scale;
    });
  }
  const range = byNoise ? [0.1, 100] : [1e-6, 1];
  const title = byNoise ? "distance from the reference over its noise" : "relative L2";
  const stops = [0, 0.25, 0.5, 0.75, 1].map(heat).join(",");
  $("heat-legend").replaceChildren(
    `${title}: ${range[0]}`,
    make("i", { style: `background:linear-gradient(90deg,${stops})` }),
    String(range[1]),
  );
  drawHeat("heat", shown, columns, range, title, open);
}

// ---- tables

const COLUMNS = ["noise ratio", "relative L2", "cosine", "max abs", "equal"];
const FEW = 2; // of them beside the layers

function figures(t) {
  const m = t.metrics;
  const ratio = t.noise_ratio === undefined ? "" : show(t.noise_ratio);
  const equal = (100 * m.exact_share).toFixed(1) + " %";
  return [ratio, show(m.relative_l2), m.cosine.toFixed?.(6) ?? m.cosine, show(m.max_abs), equal];
}

function verdictCell(t) {
  const mark = t.name === firstBad() ? " first" : "";
  return make("td", { className: `left ${t.verdict}${mark}` }, t.verdict);
}

function head(names, left = 1) {
  const cells = names.map((n, i) => make("th", { className: i < left ? "left" : "" }, n));
  return make("thead", {}, make("tr", {}, ...cells));
}

function tensorRow(t, label, extra, count) {
  const button = make("button", { type: "button", onclick: () => open(t.name) }, label);
  button.dataset.tensor = t.name;
  return make(
    "tr",
    {},
    make("td", {}, button),
    ...extra.map((text) => make("td", { className: "left" }, text)),
    verdictCell(t),
    ...figures(t).slice(0, count).map((text) => make("td", {}, text)),
  );
}

// Arrow keys go from one row's button to the next.
function moveByKeys(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || event.target.tagName !== "BUTTON") return;
  const buttons = [...event.currentTarget.querySelectorAll("tbody button")];
  const next = buttons[buttons.indexOf(event.target) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

function drawLayers() {
  const body = make("tbody");
  for (const row of rows()) {
    const t = worst(row.tensors);
    const name = row.tensors.length > 1 ? tapOf(t) : "";
    const line = tensorRow(t, row.label, [name], FEW);
    line.classList.toggle("open", row.tensors.some((x) => x.name === state.tensor));
    body.append(line);
  }
  $("layers").replaceChildren(head(["", "worst", "", ...COLUMNS.slice(0, FEW)], 3), body);
}

function drawLayer() {
  const row = rows().find((r) => r.tensors.some((t) => t.name === state.tensor));
  if (!row) return $("layer").replaceChildren(make("p", { className: "dim" }, "Nothing compared."));
  const t = row.tensors.find((x) => x.name === state.tensor);
  const parts = [make("h3", {}, row.label)];
  if (row.tensors.length > 1) {
    const body = make("tbody");
    for (const x of row.tensors) {
      const line = tensorRow(x, tapOf(x), [], COLUMNS.length);
      line.classList.toggle("open", x === t);
      body.append(line);
    }
    const taps = make("table", { id: "taps", onkeydown: moveByKeys }, head(["", "", ...COLUMNS], 2), body);
    parts.push(make("div", { className: "chart small" }, canvas("within")));
    parts.push(make("div", { className: "scroll" }, taps));
  }
  parts.push(...tensorDetail(t));
  $("layer").replaceChildren(...parts);
  if (row.tensors.length > 1) {
    drawErrors("within", row.tensors.map((x) => point(x, tapOf(x))), METRICS[state.metric], open);
  }
  if ($("histogram")) drawHistogram("histogram", t.detail);
  if ($("positions")) {
    const errors = t.metrics.position_error;
    const first = t.name.startsWith("rope_") ? 0 : positions() - errors.length;
    drawPositions("positions", errors, errors.map((_e, i) => positionLabel(first + i)));
  }
}

function canvas(id) {
  return make("canvas", { id, role: "img" });
}

// The prompt's positions. Arrays with only the last position have fewer, rotary tables may have more.
function positions() {
  const taps = prompt().tensors.filter((t) => isCompared(t) && !t.name.startsWith("rope_"));
  return Math.max(prompt().input_ids.length, ...taps.map((t) => t.metrics.position_error.length));
}

function tensorDetail(t) {
  const m = t.metrics;
  const facts = [
    `${m.compared} elements compared`,
    t.candidate_name !== t.name ? `from ${t.candidate_name}` : null,
    t.reading,
    t.position_ratio === undefined ? null : `per-position ratio ${show(t.position_ratio)}`,
    `RMSE ${show(m.rmse)}`,
    `BF16 steps: ${show(m.mean_ulp)} mean, ${show(m.max_ulp)} most`,
    m.nan_candidate ? `${m.nan_candidate} NaN` : null,
    m.inf_candidate ? `${m.inf_candidate} infinite` : null,
  ];
  const parts = [
    make("h3", { id: "tensor" }, t.name, " ", make("span", { className: t.verdict }, t.verdict)),
    t.reason ? make("p", { className: "fail" }, t.reason) : null,
    make("p", { className: "dim" }, facts.filter((f) => f).join(" · ")),
  ];
  const detail = t.detail;
  if (detail?.edges.length) {
    parts.push(make("h3", {}, "Values"), make("div", { className: "chart small" }, canvas("histogram")));
  }
  if (m.position_error.length) {
    parts.push(make("h3", {}, "Error by position"));
    parts.push(make("div", { className: "chart small" }, canvas("positions")));
  }
  if (detail?.worst.length) {
    const body = make("tbody");
    for (const e of detail.worst) {
      const difference = typeof e.reference === "number" && typeof e.candidate === "number"
        ? show(e.candidate - e.reference) : "";
      const cells = [`[${e.index.join(", ")}]`, show(e.reference), show(e.candidate), difference];
      body.append(make("tr", {}, ...cells.map((c) => make("td", {}, c))));
    }
    const names = ["index", "reference", "candidate", "difference"];
    parts.push(make("h3", {}, "Worst elements"), make("div", { className: "scroll" }, make("table", { id: "worst" }, head(names), body)));
  }
  const channels = m.worst_channels.filter((c) => c.rmse !== 0).slice(0, 5);
  if (channels.length) {
    const text = channels.map((c) => `${c.channel} (RMSE ${show(c.rmse)})`).join(", ");
    parts.push(make("p", { className: "dim" }, `Worst channels: ${text}`));
  }
  return parts.filter((p) => p !== null);
}

// ---- findings, tokens, text

function card(kind, ...children) {
  return make("div", { className: `card ${kind}` }, ...children);
}

function drawFindings() {
  const p = prompt();
  const parts = [];
  const bad = p.tensors.filter(isBad).length;
  const compared = p.tensors.filter(isCompared).length;
  const missing = p.tensors.filter((t) => t.verdict === "not compared");
  if (p.first_divergence) {
    const t = p.tensors.find((x) => x.name === p.first_divergence.tensor);
    const button = make("button", { type: "button", id: "show-first", onclick: () => open(t.name, true) }, "Show");
    parts.push(card("", make("strong", {}, `First divergence: ${t.name} `), isCompared(t) ? button : null,
      make("p", {}, t.reason), make("p", {}, p.first_divergence.text)));
  } else {
    const coarse = p.tensors.filter((t) => t.verdict === "coarse");
    if (coarse.length) {
      parts.push(card("warn", `${coarse.length} of ${compared} compared arrays are coarse: ` +
        `${coarse[0].name}: ${coarse[0].reason ?? ""}`));
    } else {
      parts.push(card("good", `All ${compared} compared arrays pass.`));
    }
  }
  for (const f of p.findings) parts.push(card("warn", `The dump: ${f.tensor}: ${f.text}`));
  for (const t of p.tensors.filter((x) => x.verdict === "error")) {
    parts.push(card("", `${t.name}: ${t.reason}`));
  }
  for (const l of p.layouts) {
    const arrays = `${l.arrays} array${l.arrays === 1 ? "" : "s"}`;
    parts.push(card("note", `Layout: ${l.example}${l.texts > 1 ? " and the like" : ""} (${arrays})`));
  }
  const list = (names) => names.slice(0, 8).join(", ") + (names.length > 8 ? ` and ${names.length - 8} more` : "");
  const notes = [`${compared} arrays compared, ${bad} failed`];
  if (missing.length) notes.push(`${missing.length} not in the candidate: ${list(missing.map((t) => t.name))}`);
  notes.push(...p.remarks);
  parts.push(card("note", notes.join("; ")));
  if (p.unmatched.length) {
    parts.push(card("warn", `${p.unmatched.length} of the dump's arrays match no rule: ${list(p.unmatched)}`));
  }
  $("findings").replaceChildren(...parts);
}

const errorText = (x) => (x >= 1e3 ? "huge" : String(Number(x.toPrecision(2))));
const withDetail = (m) => m.name + (m.detail ? `: ${m.detail}` : "");

function fields(pairs) {
  const list = make("dl");
  for (const [term, text] of pairs) {
    if (text) list.append(make("dt", {}, term), make("dd", {}, text));
  }
  return list;
}

function findingCard(f) {
  const evidence = f.of_text
    ? ""
    : `error ${errorText(f.error_before)} against the correct model, ${errorText(f.error_after)} ` +
      `against the model with this mistake (expected rounding error: ${errorText(f.noise)})`;
  const others = f.alternatives.map((a) => `${a.id} (${withDetail(a)}) ${a.separated_by}`);
  return card(
    "bad",
    make("strong", {}, withDetail(f)),
    make("span", { className: "dim" }, ` ${f.id}`),
    fields([
      ["what", f.explanation],
      ["where", f.of_text ? f.where : `${f.where}; explains ${f.taps.join(", ")}`],
      ["evidence", evidence],
      ["look at", f.look_at],
      ["or", others.join("; ")],
    ]),
  );
}

function placeCard(p) {
  const list = (numbers) => (numbers.length > 16 ? `${numbers.length} of them` : numbers.join(", "));
  return card(
    "bad",
    make("strong", {}, `Not explained: ${p.tap} of prompt ${p.prompt}`),
    fields([
      ["operation", p.operation],
      ["positions", list(p.positions)],
      ["heads", list(p.heads)],
      ["channels", list(p.channels)],
      ["looks like", p.relations.map((r) => r.text).join("; ")],
    ]),
  );
}

// The diagnosis covers all prompts together.
function drawDiagnosis() {
  const d = report.diagnosis;
  $("diagnosis-section").hidden = !d;
  if (!d) return;
  $("diagnosis-summary").textContent = `${d.verdict}: ${d.summary}`;
  $("diagnosis").append(...d.findings.map(findingCard), ...d.unexplained.map(placeCard));
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

function drawLogits() {
  const t = prompt().tensors.find((x) => x.logits);
  $("logits-section").hidden = !t;
  if (!t) return;
  const l = t.logits;
  const first = positions() - l.best_of_reference.length;
  const flips = new Map(l.flips.map((f) => [f.position, f]));
  const options = l.best_of_reference.map((_b, i) => {
    const flip = flips.get(first + i);
    const note = flip ? (flip.bf16_steps <= 2 ? ": tie, other token" : ": other token") : "";
    return make("option", { value: i }, `${positionLabel(first + i)}${note}`);
  });
  $("position").replaceChildren(...options);
  $("position").value = String(options.length - 1);
  $("position").onchange = () => drawBest(l);
  $("logits-summary").textContent =
    `same best token at ${(100 * l.top1_agreement).toFixed(1)} % of the positions, ` +
    `${(100 * l.top5_agreement).toFixed(1)} % of the five best in common, KL divergence ${show(l.kl_divergence)}`;
  drawBest(l);
}

function drawBest(l) {
  const i = Number($("position").value);
  const side = (name, best, other) => {
    const body = make("tbody");
    for (const [id, logit] of best) {
      const rank = other.findIndex(([x]) => x === id);
      body.append(make("tr", {},
        make("td", {}, make("span", { className: "token" }, tokenText(id))),
        make("td", {}, String(id)), make("td", {}, show(logit)),
        make("td", {}, rank < 0 ? "–" : String(rank + 1))));
    }
    return make("table", {}, head([name, "id", "logit", "rank there"]), body);
  };
  $("logits").replaceChildren(make("div", { className: "pair" },
    side("reference", l.best_of_reference[i], l.best_of_candidate[i]),
    side("candidate", l.best_of_candidate[i], l.best_of_reference[i])));
}

function drawText() {
  const tokens = prompt().tokens;
  $("text-section").hidden = !tokens;
  if (!tokens) return;
  const first = tokens.first_difference;
  const how = tokens.replayed
    ? "every step judged by the reference model on the candidate's own text"
    : "compared up to the first difference (--model judges every step)";
  $("text-summary").textContent = tokens.verdict === "error" ? `Error: ${tokens.reason}.` :
    first === null && tokens.reason ? `No difference: ${tokens.reason}.` :
    first === null ? `No difference; ${how}.` : `First difference at position ${first}; ${how}.`;
  $("text").replaceChildren(...tokens.steps.map((s) => {
    const other = s.reference_id !== s.candidate_id;
    const steps = s.verdict === "tie" || s.verdict === "diverged" ? `, ${show(s.bf16_steps)} BF16 steps` : "";
    return make("li", {
      className: `${s.verdict}${s.position === first ? " first" : ""}`,
      title: `position ${s.position}: ${s.verdict}${steps}`,
    }, make("span", { className: "token" }, tokenText(s.candidate_id)),
      make("small", {}, other ? `not ${tokenText(s.reference_id)} · ${s.verdict}` : s.verdict));
  }));
}

// ---- choosing

// focus: move the keyboard's focus to the detail.
function open(name, focus = false) {
  state.tensor = name;
  history.replaceState(null, "", `#${prompt().id}/${name}`);
  const held = document.activeElement?.dataset?.tensor;
  const inTaps = document.activeElement?.closest?.("#taps");
  drawLayers();
  drawLayer();
  // The button that was pressed has been redrawn.
  const again = held && document.querySelector(`${inTaps ? "#taps" : "#layers"} [data-tensor="${held}"]`);
  if (again) again.focus({ preventScroll: true });
  if (focus) {
    $("layer").focus({ preventScroll: true });
    $("layers-title").scrollIntoView({ block: "start" });
  }
}

function chooseMetrics() {
  const usable = METRICS.map((m, i) => [m, i]).filter(([m]) =>
    prompt().tensors.some((t) => isCompared(t) && m.of(t) !== undefined));
  $("metric").replaceChildren(...usable.map(([m, i]) => make("option", { value: i }, m.title)));
  if (!usable.some(([_m, i]) => i === state.metric)) {
    // The first that the profile looks at.
    const looked = usable.find(([m]) => prompt().tensors.some((t) => isCompared(t) && m.limit(t) > 0));
    state.metric = (looked ?? usable[0] ?? [null, 2])[1];
  }
  $("metric").value = String(state.metric);
  const taps = new Set(rows().filter((r) => r.layer !== undefined).flatMap((r) => r.tensors.map(tapOf)));
  if (!taps.has(state.tap)) state.tap = "worst";
  $("tap").replaceChildren(make("option", { value: "worst" }, "worst of each layer"),
    ...[...taps].map((t) => make("option", { value: t }, t)));
  $("tap").value = state.tap;
}

function drawCharts() {
  drawErrorChart();
  drawHeatChart();
}

// How much there is to see in each prompt. The page opens on the prompt with the most.
function promptVerdict(p) {
  if (!p.passed) return "fail";
  return p.tensors.some((t) => t.verdict === "coarse") ? "coarse" : "pass";
}

function showsMore(a, b) {
  const of = (p) => [RANK[promptVerdict(p)] ?? 0, p.tensors.filter(isBad).length];
  return isWorse(of(a), of(b));
}

const MARKS = { pass: "✓", coarse: "~", fail: "✗" };

function drawPrompts() {
  const body = make("tbody");
  report.prompts.forEach((p, i) => {
    const compared = p.tensors.filter(isCompared);
    const judged = compared.filter((t) => t.name !== "input_ids");
    const verdict = promptVerdict(p);
    const button = make("button", { type: "button" }, `${MARKS[verdict]} ${p.id}`);
    button.onclick = () => {
      state.prompt = i;
      drawPrompt();
    };
    const most = judged.length ? figures(worst(judged)) : ["", ""];
    const first = p.first_divergence?.tensor ?? (p.passed ? "" : "the text");
    const cells = [p.input_ids.length || "", compared.length, p.tensors.filter(isBad).length,
      most[0] || most[1]];
    body.append(make("tr", {}, make("td", {}, button),
      make("td", { className: `left ${verdict}` }, verdict),
      make("td", { className: "left" }, first),
      ...cells.map((c) => make("td", {}, String(c)))));
  });
  const names = ["prompt", "", "first divergence", "tokens", "arrays", "failed", "most off"];
  $("prompts").replaceChildren(head(names, 3), body);
}

function drawPrompt() {
  for (const [i, button] of [...$("prompts").querySelectorAll("button")].entries()) {
    button.setAttribute("aria-current", String(i === state.prompt));
  }
  const all = rows().flatMap((r) => r.tensors);
  if (!all.some((t) => t.name === state.tensor)) {
    const taps = all.filter((t) => !t.name.startsWith("rope_"));
    const most = taps.length ? worst(taps).name : all.at(-1)?.name ?? null;
    state.tensor = all.some((t) => t.name === firstBad()) ? firstBad() : most;
  }
  chooseMetrics();
  drawFindings();
  drawCharts();
  drawLayers();
  drawLayer();
  drawLogits();
  drawText();
}

function drawHead() {
  const verdict = !report.passed ? "fail" : report.coarse ? "coarse" : "pass";
  $("verdict").textContent = verdict.toUpperCase();
  $("verdict").classList.add(verdict);
  document.title = `${report.passed ? "PASS" : "FAIL"}: Assay compare`;
  $("statement").textContent = `Profile ${report.profile}, which requires that ${report.statement}.` +
    (report.precision ? ` Precision: ${report.precision}` : "") +
    (report.missing_prompts.length ? ` Not in the candidate: ${report.missing_prompts.join(", ")}.` : "") +
    (report.unused_files.length ? ` Not read: ${report.unused_files.join(", ")}.` : "");
  const { model, model_type, weights_sha256, program, numerics, oracle } = report.source;
  const facts = [
    ["model", model && (model_type ? `${model} (${model_type})` : model)],
    ["checkpoint", weights_sha256 && `SHA-256 ${weights_sha256}`],
    ["candidate", report.candidate],
    ["reference", report.reference + (numerics ? `: ${numerics}${oracle ? ` with ${oracle} oracle` : ""}` : "") +
      (program.trim() ? `, by ${program}` : "")],
    ["compared", [report.date, report.program && `by ${report.program}`].filter((x) => x).join(" ")],
  ];
  for (const [term, text] of facts) {
    if (text) $("facts").append(make("dt", {}, term), make("dd", {}, text));
  }
}

function start() {
  drawHead();
  drawPrompts();
  const [id, tensor] = decodeURIComponent(location.hash.slice(1)).split("/");
  const wanted = report.prompts.findIndex((p) => p.id === id);
  const most = report.prompts.reduce((best, p, i) => (showsMore(p, report.prompts[best]) ? i : best), 0);
  state.prompt = wanted >= 0 ? wanted : most;
  state.tensor = tensor ?? null;
  $("tap").onchange = () => {
    state.tap = $("tap").value;
    drawCharts();
  };
  $("metric").onchange = () => {
    state.metric = Number($("metric").value);
    drawErrorChart();
    drawLayer();
  };
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").onclick = () => {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    drawCharts();
    drawLayer();
  };
  $("layers").onkeydown = moveByKeys;
  document.addEventListener("keydown", (event) => {
    const typing = ["SELECT", "INPUT"].includes(event.target.tagName);
    if (event.key === "f" && !typing && !event.ctrlKey && !event.metaKey && firstBad()) {
      open(firstBad(), true);
    }
  });
  drawDiagnosis();
  drawPrompt();
}

start();
