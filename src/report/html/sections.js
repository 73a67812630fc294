// The sections of the page: each function draws one from the report and what the user has chosen.
"use strict";

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

// ---- charts

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

function tensorDetail(t) {
  const m = t.metrics;
  const facts = [
    t.module ? `made by ${t.module}` : null,
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

// As the text report does it (report/like_lines.h).
function oneOfEachKind(lines) {
  const kinds = new Map();
  for (const line of lines) {
    const kind = line.replace(/(layer_|\.)\d+(?=[_.])/g, "$1");
    if (!kinds.has(kind)) kinds.set(kind, []);
    kinds.get(kind).push(line);
  }
  return [...kinds.values()].map((all) => all[0] + (all.length > 1 ? ` (and ${all.length - 1} like it)` : ""));
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
  for (const line of oneOfEachKind(p.findings.map((f) => `${f.tensor}: ${f.text}`))) {
    parts.push(card("warn", `The dump: ${line}`));
  }
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
    first === null && tokens.past_end !== null ? `Wrong: it ${tokens.reason}.` :
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
