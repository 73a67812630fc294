// The charts. Each function draws into a canvas by its id and replaces what was there.
"use strict";

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

function show(number) {
  if (typeof number === "string") return number; // NaN and infinities
  if (number === 0) return "0";
  const size = Math.abs(number);
  if (size >= 1e5 || size < 1e-3) return number.toExponential(2);
  return String(Number(number.toPrecision(4)));
}

function draw(id, config, label) {
  const canvas = document.getElementById(id);
  const old = Chart.getChart(canvas);
  if (old) old.destroy();
  canvas.setAttribute("aria-label", label);
  Chart.defaults.color = color("dim");
  Chart.defaults.borderColor = color("line");
  Chart.defaults.animation = false;
  Chart.defaults.maintainAspectRatio = false;
  return new Chart(canvas, config);
}

function logAxis(values, title) {
  const positive = values.filter((v) => typeof v === "number" && v > 0);
  const least = positive.length ? Math.min(...positive) : 1e-6;
  const most = positive.length ? Math.max(...positive) : 1;
  return {
    type: "logarithmic",
    min: 10 ** Math.floor(Math.log10(least)),
    max: 10 ** Math.ceil(Math.log10(most) + 1e-9),
    title: { display: true, text: title },
    ticks: {
      callback: (v) => (Number.isInteger(Math.round(Math.log10(v) * 1e6) / 1e6) ? show(v) : null),
    },
  };
}

// points: {label, name, value, noise, limit, verdict}, from left to right; null values are gaps.
function drawErrors(id, points, metric, onPick) {
  const axis = logAxis(points.flatMap((p) => [p.value, p.noise, p.limit]), metric.title);
  // An error of 0 has no logarithm, so it is drawn at the bottom.
  const place = (v) =>
    v === null || v === undefined ? null : typeof v === "string" ? axis.max : Math.max(v, axis.min);
  const bad = (p) => p.verdict === "fail" || p.verdict === "error";
  const hueOf = (p) => color(bad(p) ? "fail" : p.verdict === "coarse" ? "warn" : "pass");
  const line = (label, key, dash, hue) => ({
    label,
    data: points.map((p) => place(p[key])),
    borderColor: hue,
    borderDash: dash,
    borderWidth: 1.5,
    pointRadius: 0,
    pointHitRadius: 0,
    pointStyle: "line",
    spanGaps: true,
  });
  const datasets = [
    {
      label: "candidate",
      data: points.map((p) => place(p.value)),
      borderColor: color("candidate"),
      borderWidth: 1.5,
      pointRadius: points.map((p) => (bad(p) ? 6 : 4)),
      pointStyle: points.map((p) => (bad(p) ? "triangle" : "circle")),
      pointBackgroundColor: points.map(hueOf),
      pointBorderColor: points.map(hueOf),
      spanGaps: true,
    },
  ];
  if (points.some((p) => p.noise != null)) {
    datasets.push(line("noise of the reference", "noise", [6, 4], color("noise")));
  }
  if (points.some((p) => p.limit != null)) {
    datasets.push(line("limit", "limit", [2, 3], color("fail")));
  }
  return draw(
    id,
    {
      type: "line",
      data: { labels: points.map((p) => p.label), datasets },
      options: {
        scales: { y: axis, x: { title: { display: false } } },
        interaction: { mode: "nearest", axis: "x", intersect: false },
        onClick: (_event, hits) => hits.length && onPick(points[hits[0].index].name),
        plugins: {
          legend: { labels: { usePointStyle: true } },
          tooltip: {
            filter: (item) => item.datasetIndex === 0,
            callbacks: {
              title: (items) => (items.length ? points[items[0].dataIndex].name : ""),
              label: (item) => {
                const p = points[item.dataIndex];
                const limit = p.limit == null ? "" : ", limit " + show(p.limit);
                return `${metric.title}: ${show(p.value)}${limit}: ${p.verdict}`;
              },
            },
          },
        },
      },
    },
    `${metric.title} of ${points.length} taps on a logarithmic axis`,
  );
}

const RAMP = [[49, 88, 165], [64, 160, 160], [235, 214, 110], [232, 126, 50], [190, 25, 40]];

// t from 0 (small) to 1 (large).
function heat(t) {
  const at = Math.min(Math.max(t, 0), 1) * (RAMP.length - 1);
  const low = Math.min(Math.floor(at), RAMP.length - 2);
  const mix = RAMP[low].map((x, i) => Math.round(x + (RAMP[low + 1][i] - x) * (at - low)));
  return `rgb(${mix.join(",")})`;
}

// rows: {label, name, values: [number per column]}; columns: labels; range: [least, most] of the
// colours, on a logarithmic scale.
function drawHeat(id, rows, columns, range, title, onPick) {
  const scale = (v) =>
    typeof v === "string" ? 1 : v > 0 ? Math.log(v / range[0]) / Math.log(range[1] / range[0]) : 0;
  return draw(
    id,
    {
      type: "bar",
      data: {
        labels: columns,
        datasets: rows.map((row, r) => ({
          label: row.label,
          data: row.values.map((v) => (v === null ? null : [r - 0.5, r + 0.5])),
          backgroundColor: row.values.map((v) => (v === null ? "transparent" : heat(scale(v)))),
          grouped: false,
          barPercentage: 1,
          categoryPercentage: 1,
          borderWidth: 0,
          borderSkipped: false,
        })),
      },
      options: {
        scales: {
          x: { grid: { display: false }, title: { display: true, text: "position and token" } },
          y: {
            type: "linear",
            reverse: true,
            min: -0.5,
            max: rows.length - 0.5,
            grid: { display: false },
            afterBuildTicks: (axis) => (axis.ticks = rows.map((_row, r) => ({ value: r }))),
            ticks: { autoSkip: true, font: { size: 10 }, callback: (v) => rows[v]?.label },
          },
        },
        interaction: { mode: "nearest", intersect: true },
        onClick: (_event, hits) => hits.length && onPick(rows[hits[0].datasetIndex].name),
        plugins: {
          legend: { display: false },
          tooltip: {
            callbacks: {
              title: (items) => items.map((i) => `${rows[i.datasetIndex].name}, position ${i.label}`),
              label: (item) => `${title}: ${show(rows[item.datasetIndex].values[item.dataIndex])}`,
            },
          },
        },
      },
    },
    `${title} of ${rows.length} rows at ${columns.length} positions`,
  );
}

// detail: edges, reference_counts, candidate_counts of the report.
function drawHistogram(id, detail) {
  const { edges } = detail;
  const side = (label, counts, hue) => ({
    label,
    data: counts.map((c) => (c === 0 ? null : c)),
    backgroundColor: hue + "99",
    borderColor: hue,
    borderWidth: 1,
    grouped: false,
    barPercentage: 1,
    categoryPercentage: 1,
  });
  return draw(
    id,
    {
      type: "bar",
      data: {
        labels: detail.reference_counts.map((_c, i) => show((edges[i] + edges[i + 1]) / 2)),
        datasets: [
          side("reference", detail.reference_counts, color("reference")),
          side("candidate", detail.candidate_counts, color("candidate")),
        ],
      },
      options: {
        scales: {
          x: { grid: { display: false }, ticks: { maxTicksLimit: 9, maxRotation: 0 } },
          y: {
            type: "logarithmic",
            min: 0.8,
            max: 10 ** Math.ceil(Math.log10(1 + Math.max(...detail.reference_counts, ...detail.candidate_counts))),
            title: { display: true, text: "elements" },
            ticks: { callback: (v) => (Number.isInteger(Math.log10(v)) ? show(v) : null) },
          },
        },
        interaction: { mode: "index", intersect: false },
        plugins: {
          tooltip: {
            callbacks: {
              title: (items) =>
                `${show(edges[items[0].dataIndex])} to ${show(edges[items[0].dataIndex + 1])}`,
            },
          },
        },
      },
    },
    "Histograms of reference and candidate",
  );
}

function drawPositions(id, errors, labels) {
  const axis = logAxis(errors, "relative L2");
  return draw(
    id,
    {
      type: errors.length > 1 ? "line" : "bar",
      data: {
        labels,
        datasets: [
          {
            label: "relative L2",
            data: errors.map((e) => (typeof e === "string" ? axis.max : Math.max(e, axis.min))),
            borderColor: color("candidate"),
            backgroundColor: color("candidate"),
            borderWidth: 1.5,
            pointRadius: errors.length > 60 ? 0 : 3,
          },
        ],
      },
      options: {
        scales: { y: axis, x: { title: { display: true, text: "position and token" } } },
        interaction: { mode: "index", intersect: false },
        plugins: {
          legend: { display: false },
          tooltip: { callbacks: { label: (item) => show(errors[item.dataIndex]) } },
        },
      },
    },
    "Relative L2 error by position",
  );
}
