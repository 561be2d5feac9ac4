// Curves with a switch for each model and task, and the components of the number embeddings at any kept step.
"use strict";
{
  const { colors, report } = JSON.parse(document.getElementById("data").textContent);
  const { models } = report;
  const at = (id) => document.getElementById(id);
  const INK = "#1b1f24", GRID = "#e6eaee", SEVERAL = "#555555"; // SEVERAL: tasks of several operations
  const EVEN = "#0072B2", ODD = "#D55E00";
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
  const PATTERNS = ["", "7 4", "2 3", "7 3 2 3", "12 4", "12 3 2 3"]; // the same for the switches
  const SHADES = ["#1b1f24", "#6e7781", "#a0561b", "#3b6ea5"];
  const CONFIG = { responsive: true, displaylogo: false, typesetMath: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };

  // Plotly takes names for markup; entities it shows as what they stand for.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const share = (value) => `${Math.round(100 * value)} %`;
  const short = (value) => String(Number(value.toPrecision(2)));
  const stepText = (step) => (step === null ? "–" : step.toLocaleString("en"));
  const axis = (title, more) => ({ title: { text: title, standoff: 8 }, gridcolor: GRID, zeroline: false, linecolor: INK, ...more });
  const layout = (more) => ({
    font: { family: "system-ui, sans-serif", size: 13, color: INK }, margin: { l: 56, r: 20, t: 32, b: 48 },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger scrolls the page
    showlegend: false, hovermode: "closest", hoverlabel: { align: "left", namelength: -1 }, ...more,
  });

  // --- curves ---

  const mixes = [...new Set(models.flatMap((model) => model.curves.map((curve) => curve.mix)))]
    .sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  function rank(mix) {
    const place = Object.keys(colors).indexOf(mix);
    return place < 0 ? Infinity : place;
  }

  // A switch with its swatch: a line in a model's dashes, or a block in an operation's colour.
  function addSwitch(fieldset, text, swatch) {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", drawCurves);
    const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    picture.setAttribute("width", 36);
    picture.setAttribute("height", 12);
    picture.setAttribute("aria-hidden", "true");
    const drawn = { x1: 0, x2: 36, y1: 6, y2: 6, "stroke-width": 3, ...swatch };
    Object.entries(drawn).forEach(([name, value]) => line.setAttribute(name, value));
    picture.append(line);
    label.append(box, picture, text);
    fieldset.append(label);
    return box;
  }

  const shown = { models: [], mixes: {} };
  function drawCurves() {
    const trace = (model, place, x, y, color, text) => ({
      x, y, mode: "lines", name: plain(model.label), legendgroup: model.name, visible: shown.models[place].checked,
      line: { color, width: 2, dash: DASHES[place % DASHES.length] },
      hovertemplate: `<b>${plain(model.label)}</b><br>${text}step %{x}: %{y:.3f}<extra></extra>`,
    });
    const accuracies = models.flatMap((model, place) => model.curves
      .filter((curve) => shown.mixes[curve.mix].checked)
      .map((curve) => trace(model, place, curve.steps, curve.exact_match, colors[curve.mix] ?? SEVERAL, `${curve.task}<br>`)));
    const losses = models.map((model, place) => trace(model, place, model.loss_steps, model.losses, SHADES[place % SHADES.length], ""));
    const last = Math.max(0, ...models.map((model) => model.steps ?? 0));
    const steps = axis("step", { range: [-0.01 * last, 1.01 * last] });
    Plotly.react("accuracy", accuracies, layout({ xaxis: steps, yaxis: axis("exact match", { range: [-0.02, 1.02] }) }), CONFIG);
    Plotly.react("loss", losses, layout({ xaxis: steps, yaxis: axis("loss", { rangemode: "tozero" }) }), CONFIG);
  }

  if (mixes.length) {
    shown.models = models.map((model, place) => {
      const swatch = { stroke: SHADES[place % SHADES.length], "stroke-dasharray": PATTERNS[place % PATTERNS.length] };
      const box = addSwitch(at("curve-models"), model.label, swatch);
      box.disabled = !model.curves.length;
      return box;
    });
    for (const mix of mixes) {
      shown.mixes[mix] = addSwitch(at("curve-mixes"), mix, { stroke: colors[mix] ?? SEVERAL, "stroke-width": 12 });
    }
    drawCurves();
  }

  // --- components ---

  const webgl = Boolean(window.WebGLRenderingContext && document.createElement("canvas").getContext("webgl"));
  at("space").hidden = at("z-label").hidden = !webgl;
  at("no-webgl").hidden = webgl;

  function setOptions(select, texts, chosen) {
    select.replaceChildren(...texts.map((text, place) => new Option(text, place)));
    select.value = Math.min(chosen, texts.length - 1);
  }

  function chooseModel() {
    const { snapshots, variance } = models[at("model").value];
    const names = snapshots[0].scores[0].map((_, j) => `PC${j + 1} (${share(variance[j] ?? 0)})`);
    ["x", "y", "z"].forEach((id, place) => setOptions(at(id), names, place));
    at("step").max = snapshots.length - 1;
    at("step").value = snapshots.length - 1;
    at("step").disabled = snapshots.length === 1;
    drawComponents();
  }

  // How the numbers look: their texts in the points, or beside the smaller ones of three dimensions.
  function points(coordinates, beside, more) {
    const numbers = coordinates.x.map((_, number) => number);
    const byParity = at("color").value === "parity";
    const light = numbers.map((number) => !byParity && number > 0.6 * numbers.length); // the light end of viridis
    return {
      ...coordinates, ...more, text: numbers.map(String),
      textfont: { size: 12, color: beside ? INK : light.map((is) => (is ? INK : "#ffffff")) },
      mode: byParity ? "markers+text" : "lines+markers+text", line: { color: "#c4ccd4", width: 1.5 },
      marker: {
        size: beside ? 8 : 24, color: byParity ? numbers.map((number) => (number % 2 ? ODD : EVEN)) : numbers,
        colorscale: "Viridis", line: { width: 0 },
      },
    };
  }

  function drawComponents() {
    const { snapshots } = models[at("model").value];
    const place = Number(at("step").value);
    const { step, scores, parity } = snapshots[place];
    const chosen = ["x", "y", "z"].map((id) => Number(at(id).value));
    const titles = chosen.map((component) => `PC${component + 1}`);
    const [x, y, z] = chosen.map((component) => scores.map((row) => row[component]));
    // One range for all steps, so that what moves is the points and not the frame.
    const [xs, ys, zs] = chosen.map((component) => {
      const most = Math.max(...snapshots.flatMap((of) => of.scores.map((row) => Math.abs(row[component]))));
      return [-1.18 * most, 1.18 * most];
    });
    at("key").hidden = at("color").value !== "parity";
    at("step-text").textContent = stepText(step);
    at("step").setAttribute("aria-valuetext", stepText(step));
    at("parity-text").textContent = !parity ? "There is one component, too few to tell odd from even by." :
      `In all ${parity.components.length} components together, a linear classifier tells odd from even for ` +
      `${share(parity.value)} of held-out numbers. Chance: ${share(parity.shuffled)} with the numbers shuffled ` +
      `(p ${short(parity.p_shuffled)}), ${share(parity.random)} at random initialisation (p ${short(parity.p_random)}).`;
    Plotly.react("plane", [points({ x, y }, false, { type: "scatter", hovertemplate: "%{text}: %{x:.3f}, %{y:.3f}<extra></extra>" })],
      layout({ xaxis: axis(titles[0], { range: xs }), yaxis: axis(titles[1], { range: ys }) }), CONFIG);
    if (webgl) {
      Plotly.react("space", [points({ x, y, z }, true, { type: "scatter3d", textposition: "top center", hovertemplate: "%{text}<extra></extra>" })],
        layout({ margin: { l: 0, r: 0, t: 0, b: 0 }, uirevision: at("model").value, dragmode: "turntable", scene: {
          camera: { eye: { x: 1.55, y: 1.55, z: 1 } },
          xaxis: axis(titles[0], { range: xs }), yaxis: axis(titles[1], { range: ys }), zaxis: axis(titles[2], { range: zs }), aspectmode: "cube",
        } }), CONFIG);
    }
    drawParity(snapshots, place);
  }

  // Steps at even distances, as on the slider.
  function drawParity(snapshots, place) {
    const measured = snapshots.length > 1 && snapshots.every((each) => each.parity);
    at("parity-figure").hidden = !measured;
    if (!measured) return;
    const x = snapshots.map((_, each) => each), of = snapshots.map((each) => each.parity);
    const hover = of.map((each, k) => `step ${stepText(snapshots[k].step)}: ${each.value.toFixed(2)}, p ${short(each.p_shuffled)}`);
    const every = Math.ceil(x.length / (at("parity").clientWidth / 55)), ticks = x.filter((each) => each % every === 0);
    Plotly.react("parity", [
      { x, y: of.map((each) => each.shuffled), mode: "lines", line: { color: "#8c959f", dash: "dot" }, hovertemplate: "shuffled: %{y:.2f}<extra></extra>" },
      { x, y: of.map((each) => each.value), text: hover, mode: "lines+markers", line: { color: INK },
        marker: { opacity: 1, color: x.map((each) => (each === place ? ODD : INK)), size: x.map((each) => (each === place ? 13 : 7)) },
        hovertemplate: "%{text}<extra></extra>" },
    ], layout({
      xaxis: axis("training step", { tickvals: ticks, ticktext: ticks.map((each) => stepText(snapshots[each].step)), tickangle: 0, range: [-0.5, x.length - 0.5] }),
      yaxis: axis("accuracy", { range: [-0.04, 1.04] }),
      annotations: [{ x: x.length - 1, y: of.at(-1).shuffled, text: "numbers shuffled", showarrow: false, xanchor: "right", yshift: -11, font: { color: "#57606a", size: 12 } }],
    }), CONFIG);
  }

  setOptions(at("model"), models.map((model) => model.label), 0);
  at("model").addEventListener("change", chooseModel);
  ["x", "y", "z", "color"].forEach((id) => at(id).addEventListener("change", drawComponents));
  at("step").addEventListener("input", drawComponents);
  chooseModel();
}
