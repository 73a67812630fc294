// What the user has chosen, and what is drawn again when that changes.
"use strict";

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
