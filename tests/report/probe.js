// Behind the report's own scripts: uses the page as a person does and writes down what it sees, as
// JSON that --dump-dom prints.
"use strict";

// Marks that the chart holds, and whether the canvas shows more than one colour.
function chart(id) {
  const canvas = document.getElementById(id);
  const drawn = canvas && Chart.getChart(canvas);
  if (!drawn) return null;
  const marks = drawn.data.datasets.map((set) => set.data.filter((v) => v !== null).length);
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const colors = new Set();
  for (let i = 0; i < pixels.length; i += 4) {
    if (pixels[i + 3] > 200) colors.add((pixels[i] << 16) | (pixels[i + 1] << 8) | pixels[i + 2]);
  }
  const y = drawn.options.scales.y?.type;
  const columns = drawn.data.labels.length;
  const labels = drawn.data.datasets.map((set) => set.label);
  return { marks, columns, colors: colors.size, y, labels, said: canvas.getAttribute("aria-label") };
}

// A click where a point of the chart's first dataset lies.
function clickPoint(id, index) {
  const canvas = document.getElementById(id);
  const drawn = Chart.getChart(canvas);
  const { x, y } = drawn.getDatasetMeta(0).data[index].getProps(["x", "y"], true);
  const box = canvas.getBoundingClientRect();
  for (const type of ["mousemove", "click"]) {
    canvas.dispatchEvent(
      new MouseEvent(type, { clientX: box.left + x, clientY: box.top + y, bubbles: true, view: window }),
    );
  }
}

const key = (name, target) =>
  target.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
const text = (id) => document.getElementById(id)?.textContent ?? null;
const later = (ms) => new Promise((done) => setTimeout(done, ms));

async function probe() {
  const seen = {};
  await later(100);
  seen.title = document.title;
  seen.verdict = text("verdict");
  seen.prompts = [...document.querySelectorAll("#prompts button")].map((b) => b.textContent);
  seen.facts = text("facts");
  seen.overview = [...document.querySelectorAll("#prompts tbody tr")].map((r) => r.textContent);
  seen.opened = document.querySelector('#prompts [aria-current="true"]')?.textContent;
  seen.position_labels = Chart.getChart("positions")?.data.labels ?? null;
  seen.width = [document.documentElement.scrollWidth, window.innerWidth];
  seen.cut_off = [...document.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth).length;
  seen.findings = text("findings");
  seen.shown_first = text("tensor");
  seen.charts = {};
  for (const id of ["errors", "heat", "within", "histogram", "positions"]) seen.charts[id] = chart(id);
  seen.rows = [...document.querySelectorAll("#layers tbody tr")].map((r) => r.textContent);
  seen.worst = document.querySelectorAll("#worst tbody tr").length;
  seen.best = text("logits");
  seen.tokens = [...document.querySelectorAll("#text li")].map((li) => [li.className, li.textContent]);
  seen.text_summary = text("text-summary");
  seen.sections = {
    logits: !document.getElementById("logits-section").hidden,
    text: !document.getElementById("text-section").hidden,
  };

  // The mouse: a layer in the table, a tap of it, a point of the chart.
  document.querySelector('#layers [data-tensor^="layer_03"]')?.click();
  seen.after_layer = text("tensor");
  seen.after_layer_charts = [chart("histogram"), chart("positions")];
  document.querySelector('#taps [data-tensor="layer_05_q_norm"]')?.click();
  clickPoint("errors", Math.min(8, chart("errors").marks[0] - 1)); // after the embedding: layer 7
  await later(200);
  seen.after_point = text("tensor");
  seen.address = location.hash;

  // The keyboard: down the table, then to the first divergence.
  const buttons = document.querySelectorAll("#layers tbody button");
  buttons[0].focus();
  key("ArrowDown", document.activeElement);
  key("ArrowDown", document.activeElement);
  seen.focused = document.activeElement.textContent;
  key("ArrowUp", document.activeElement);
  document.activeElement.click();
  seen.after_enter = text("tensor");
  seen.focus_kept = document.activeElement.textContent;
  key("f", document.body);
  seen.after_f = text("tensor");

  // Another tap, another metric, the other theme, the other prompt.
  const set = (id, value) => {
    const select = document.getElementById(id);
    select.value = value;
    select.dispatchEvent(new Event("change"));
  };
  set("tap", "output");
  seen.output_marks = chart("errors").marks;
  set("metric", String(METRICS.findIndex((m) => m.title === "MSE")));
  seen.mse = chart("errors").said;
  const theme = document.documentElement.dataset.theme;
  const back = getComputedStyle(document.body).backgroundColor;
  document.getElementById("theme").click();
  seen.theme_changed =
    document.documentElement.dataset.theme !== theme &&
    getComputedStyle(document.body).backgroundColor !== back;
  seen.themed = chart("errors");
  const tabs = document.querySelectorAll("#prompts button");
  tabs[tabs.length - 1].click();
  seen.last_prompt = [text("tensor"), chart("errors")?.marks ?? null, text("findings")];
  set("position", "0");
  seen.first_position = text("logits");

  seen.resources = performance.getEntriesByType("resource").map((r) => r.name);
  seen.milliseconds = performance.now();
  seen.problems = problems;
  return seen;
}

probe()
  .catch((error) => ({ problems: [...problems, String(error.stack)] }))
  .then((seen) => {
    const out = document.createElement("pre");
    out.id = "seen";
    out.textContent = JSON.stringify(seen);
    document.body.replaceChildren(out);
  });
