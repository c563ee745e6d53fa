"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const COLOURS = [0, 1, 2, 3, 4, 5, 6].map((n) => `var(--c${n})`);
  const DASHES = ["none", "8 4", "2 3", "10 3 2 3", "16 4", "1 5"];
  const DECADES = 2.5; // most of a logarithmic axis
  const unique = (values) => [...new Set(values)];
  const cycled = (list, n) => list[n % list.length];
  const percent = (share, whole = Math.round) => `${(whole(Number((1000 * share).toFixed(6))) / 10).toFixed(1)} %`;
  const floored = (value) => { // four significant digits, never more than the value
    if (!(value > 0)) return "0";
    const step = 10 ** (Math.floor(Math.log10(value)) - 3);
    return String(Number((Math.floor(value / step + 1e-9) * step).toPrecision(4)));
  };

  // Controls -----------------------------------------------------------------
  function swatch(colour, dash, dot) {
    const svg = d3.create("svg").attr("class", "swatch").attr("width", 30).attr("height", 10).attr("aria-hidden", "true");
    if (!dot) svg.append("line").attr("x1", 0).attr("x2", 30).attr("y1", 5).attr("y2", 5).attr("stroke-width", 2.5).attr("stroke-dasharray", dash);
    else svg.append("circle").attr("cx", 13).attr("cy", 5).attr("r", 4).attr("fill", colour);
    return svg.style("stroke", dot ? "none" : colour).node();
  }

  function checks(place, legend, entries, changed) {
    const box = place.appendChild(document.createElement("fieldset"));
    box.appendChild(document.createElement("legend")).textContent = legend;
    for (const entry of entries) {
      const label = box.appendChild(document.createElement("label"));
      const input = label.appendChild(document.createElement("input"));
      input.type = "checkbox";
      input.checked = entry.shown;
      input.addEventListener("change", () => { entry.shown = input.checked; changed(); });
      if (entry.colour || entry.dash) label.appendChild(swatch(entry.colour || "var(--muted)", entry.dash || "none"));
      label.append(entry.label);
    }
  }

  function choice(place, legend, options, changed, kind = "") {
    const box = place.appendChild(document.createElement("fieldset"));
    box.className = kind;
    const label = box.appendChild(document.createElement("label"));
    label.append(legend);
    const select = label.appendChild(document.createElement("select"));
    for (const option of options) select.appendChild(new Option(option, option));
    select.addEventListener("change", () => changed(select.value));
  }

  function key(place, entries) {
    const list = document.createElement("fieldset");
    list.appendChild(document.createElement("legend")).textContent = entries.legend;
    for (const [label, colour] of entries.items) {
      const span = list.appendChild(document.createElement("label"));
      span.append(swatch(colour, "none"), label);
    }
    place.appendChild(list);
    return list;
  }

  // Axes ---------------------------------------------------------------------
  function loudness(norm, domain, log, narrow) {
    if (!norm) return [];
    const place = log ? d3.scaleLog(domain, [0, 1]) : d3.scaleLinear(domain, [0, 1]);
    const ticks = [];
    const step = log && domain[1] / domain[0] > 100 ? 10 : 2, gap = narrow ? 0.14 : 0.07;
    let last = Infinity;
    for (let level = 0; level < 160; level += step) {
      const radius = norm * 10 ** (-level / 20), at = place(radius);
      if (radius <= domain[1] && radius > domain[0] && at > 0.04 && last - at > gap) {
        ticks.push([radius, level]);
        last = at;
      }
    }
    if (!ticks.length) return [];
    return [Plot.axisX(ticks.map(([radius]) => radius), {
      anchor: "top", text: ticks.map(([, level]) => String(level)), label: narrow ? "SNR, dB" : "speech louder than the perturbation by, dB", labelAnchor: "right", labelArrow: "none", color: "var(--muted)",
    })];
  }

  function frame(place, height) {
    const width = Math.max(280, Math.round(place.clientWidth || 640));
    const narrow = width < 520;
    return { width, height: Math.round(Math.min(height, narrow ? 0.95 * width + 60 : height)), marginLeft: narrow ? 40 : 48, marginRight: 14, marginTop: 44, marginBottom: 44 };
  }

  function show(place, options) {
    const svg = Plot.plot({ className: "chart", ...options });
    svg.setAttribute("aria-hidden", "true"); // the place has the description
    place.replaceChildren(svg);
  }

  const bottom = (text, more = {}) => Plot.axisX({ anchor: "bottom", label: text, labelAnchor: "center", labelArrow: "none", ticks: 6, tickFormat: "~g", ...more });
  function decades([low, high], narrow) { // 1, 2, 5 of every decade, or fewer
    const ticks = d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1).flatMap((power) => (narrow ? [1, 3] : [1, 2, 5]).map((digit) => Number(`${digit}e${power}`)));
    return ticks.filter((tick) => tick >= low && tick <= high);
  }
  function labelled(budgets, domain, log, width) { // those whose labels would overlap share one
    const place = log ? d3.scaleLog(domain, [0, width]) : d3.scaleLinear(domain, [0, width]);
    const labels = [];
    for (const one of budgets) {
      const last = labels[labels.length - 1];
      if (last && place(one.radius) - place(last.radius) < 15) last.label += `, ${one.label}`;
      else labels.push({ ...one });
    }
    return labels;
  }
  const grid = { stroke: "var(--line)", strokeOpacity: 1 };
  const tip = (points, x, y) => Plot.tip(points, Plot.pointer({ x, y, title: "title", maxRadius: 40, fontSize: 12, stroke: "var(--muted)", fill: "var(--ground)" }));

  // Figures ------------------------------------------------------------------
  function accuracy(figure, place, controls) {
    const proved = figure.curves.filter((curve) => curve.rule), tried = figure.curves.filter((curve) => !curve.rule);
    const several = unique(proved.map((curve) => curve.system)).length > 1;
    const sound = unique(proved.filter((curve) => curve.guarantee).map((curve) => curve.rule));
    const rules = unique(proved.map((curve) => curve.rule)).map((rule, n) => {
      const one = proved.find((curve) => curve.rule === rule);
      const dash = several ? cycled(DASHES, n) : one.guarantee ? (rule === "lipschitz" ? "2 3" : "none") : "6 3";
      const shown = one.guarantee && (!several || rule === sound[0]) || !sound.length;
      return { id: rule, label: one.label, dash, colour: several ? null : cycled(COLOURS, n), shown };
    });
    const systems = unique(proved.map((curve) => curve.system)).map((system, n) => ({ id: system, label: system, colour: several ? cycled(COLOURS, n) : null, shown: true }));
    const attacks = tried.map((curve, n) => ({ id: curve.system, label: curve.system, colour: "var(--attack)", dash: cycled(DASHES, n), shown: true }));
    let scale = tried.length ? "logarithmic" : "linear";
    const redraw = () => {
      const of = (list, id) => list.find((entry) => entry.id === id);
      const visible = figure.curves.filter((curve) => curve.rule ? of(systems, curve.system).shown && of(rules, curve.rule).shown : of(attacks, curve.system).shown);
      const points = visible.flatMap((curve) => {
        const own = curve.rule ? of(several ? systems : rules, curve.system === undefined || !several ? curve.rule : curve.system) : of(attacks, curve.system);
        const dash = curve.rule ? of(rules, curve.rule).dash : own.dash;
        const banded = curve.rule ? curve.guarantee : attacks.filter((entry) => entry.shown).length < 3; // more would hide all
        const [down, up] = curve.rule ? [Math.floor, Math.ceil] : [Math.round, Math.round]; // what is proved is never more
        const said = curve.rule ? `${curve.label}: certified` : "empirical";
        return curve.points.map(([x, y, low, high]) => ({
          x: x || 1e-9, y, low, high, curve: `${curve.system}/${curve.rule}`, colour: own.colour, dash, band: banded, marked: !curve.rule && curve.marks.includes(x),
          title: `${curve.system}\n${said} ${percent(y, down)} [${percent(low, down)}, ${percent(high, up)}]\nbeyond l2 norm ${floored(x)}`,
        }));
      });
      const ends = points.map((point) => point.x).filter((x) => x > 1e-9);
      const top = 1.08 * (d3.max(ends) || 1), log = scale === "logarithmic";
      const domain = log ? [Math.max(0.7 * (d3.min(ends) || 0.1), top / 10 ** DECADES), top] : [0, top];
      const budgets = figure.budgets.filter((one) => one.radius > domain[0] && one.radius < domain[1]);
      const curves = d3.groups(points, (point) => point.curve);
      const size = frame(place, 440), ticks = decades(domain, size.width < 520);
      show(place, {
        ...size,
        x: { type: log ? "log" : "linear", domain, label: null },
        y: { domain: [0, 1], label: "share of utterances", labelArrow: "none", ticks: 5, tickFormat: "%" },
        marks: [
          log ? Plot.gridX(ticks, grid) : Plot.gridX(grid), Plot.gridY(grid),
          Plot.ruleX(budgets, { x: "radius", stroke: "var(--muted)", strokeDasharray: "1 3" }),
          Plot.text(labelled(budgets, domain, log, size.width - 62), { x: "radius", y: 0, text: "label", rotate: -90, textAnchor: "start", dx: -6, dy: -6, fill: "var(--muted)", fontSize: 11 }),
          ...curves.filter(([, own]) => own[0].band).map(([, own]) => Plot.areaY(own, { x: "x", y1: "low", y2: "high", curve: "step-after", fill: own[0].colour, fillOpacity: 0.13, clip: true })),
          ...curves.map(([, own]) => Plot.lineY(own, { x: "x", y: "y", curve: "step-after", stroke: own[0].colour, strokeDasharray: own[0].dash, strokeWidth: 2.25, clip: true })),
          Plot.dot(points.filter((point) => point.marked), { x: "x", y: "y", fill: "colour", r: 3.5, clip: true }),
          ...loudness(figure.norm, domain, log, size.width < 520),
          bottom(`l2 norm of the perturbation (${figure.unit})`, log ? { ticks } : {}),
          tip(points, "x", "y"),
        ],
        color: { type: "identity" },
      });
    };
    if (systems.length > 1) checks(controls, "certified", systems, redraw);
    if (rules.length) checks(controls, "rule", rules, redraw);
    if (attacks.length) checks(controls, "attack", attacks, redraw);
    choice(controls, "axis", scale === "linear" ? ["linear", "logarithmic"] : ["logarithmic", "linear"], (value) => { scale = value; redraw(); }, "axis");
    return redraw;
  }

  const named = (figure) => { // the system stands in a name where there are several
    const several = unique(figure.curves.map((curve) => curve.system)).length > 1;
    return (curve) => (several ? `${curve.verifier}, ${curve.system}` : curve.verifier);
  };

  function rates(figure, place, controls) {
    const name = named(figure);
    const entries = figure.curves.map((curve, n) => ({ curve, label: name(curve), colour: cycled(COLOURS, n), dash: cycled(DASHES, n), shown: true }));
    const redraw = () => {
      const own = entries.filter((entry) => entry.shown);
      const points = own.flatMap(({ curve, colour }) => curve.rates.map((rate) => ({
        ...rate, colour, title: `${curve.verifier}, ${curve.system}\ncertified EER ${percent(rate.eer, Math.ceil)} [${rate.eer_low === null ? "-" : percent(rate.eer_low, Math.floor)}, ${rate.eer_high === null ? "-" : percent(rate.eer_high, Math.ceil)}]\nup to l2 norm ${floored(rate.radius)}`,
      })));
      const domain = [0, 1.05 * (d3.max(points, (point) => point.radius) || 1)];
      const size = frame(place, 380);
      show(place, {
        ...size,
        x: { domain, label: null },
        y: { domain: [0, Math.min(1, 1.1 * (d3.max(points, (point) => point.eer_high ?? point.eer) || 1))], label: "certified equal error rate", labelArrow: "none", ticks: 5, tickFormat: "%" },
        color: { type: "identity" },
        marks: [
          Plot.gridX(grid), Plot.gridY(grid),
          ...own.map(({ curve, colour }) => Plot.areaY(curve.rates.filter((rate) => rate.eer_low !== null), { x: "radius", y1: "eer_low", y2: "eer_high", curve: "step-before", fill: colour, fillOpacity: 0.13 })),
          ...own.map(({ curve, colour, dash }) => Plot.lineY(curve.rates, { x: "radius", y: "eer", curve: "step-before", stroke: colour, strokeWidth: 2.25, strokeDasharray: dash })),
          Plot.dot(points, { x: "radius", y: "eer", fill: "colour", r: 3.5 }),
          ...loudness(figure.norm, domain, false, size.width < 520),
          bottom(`l2 norm of the perturbation (${figure.unit})`),
          tip(points, "radius", "eer"),
        ],
      });
    };
    checks(controls, "verifier", entries, redraw);
    return redraw;
  }

  function det(figure, place, controls) {
    const name = named(figure), names = unique(figure.curves.map(name));
    let chosen = names[0], legend = null;
    const redraw = () => {
      const own = figure.curves.filter((curve) => name(curve) === chosen);
      legend?.remove();
      legend = key(controls, { legend: "radius", items: own.map((curve, n) => [floored(curve.radius), cycled(COLOURS, n)]) });
      const size = frame(place, 460), side = Math.min(size.width, 520);
      const at = figure.ticks.filter((_, n) => side > 420 || n % 2 === 0).map((tick) => tick.at);
      const label = new Map(figure.ticks.map((tick) => [tick.at, tick.label]));
      const domain = [at[0], at[at.length - 1]];
      const axis = (text) => ({ domain, label: text, labelArrow: "none", ticks: at, tickFormat: (tick) => label.get(tick) });
      show(place, {
        ...size, width: side, height: side,
        x: { ...axis("certified false acceptances, %"), labelAnchor: "center" }, y: axis("certified false rejections, %"),
        marks: [
          Plot.gridX(at, grid), Plot.gridY(at, grid),
          Plot.line([[domain[0], domain[0]], [domain[1], domain[1]]], { stroke: "var(--muted)", strokeDasharray: "1 3" }),
          ...own.map((curve, n) => Plot.line(curve.points, { curve: "step-after", stroke: cycled(COLOURS, n), strokeWidth: 2, clip: true })),
        ],
      });
    };
    if (names.length > 1) choice(controls, "verifier", names, (value) => { chosen = value; redraw(); });
    return redraw;
  }

  function radii(figure, place, controls) {
    const systems = unique(figure.dots.map((dot) => dot.system)), rules = unique(figure.dots.map((dot) => dot.label));
    let system = systems[0], rule = rules[0];
    const redraw = () => {
      const own = figure.dots.filter((dot) => dot.system === system && dot.label === rule);
      const speakers = d3.groupSort(own, (dots) => -d3.median(dots, (dot) => dot.radius), (dot) => dot.speaker);
      const longest = Math.min(150, 16 + 7 * (d3.max(speakers, (name) => String(name).length) || 0));
      const points = d3.groups(own, (dot) => `${dot.speaker} ${dot.radius}`).map(([, same]) => ({
        ...same[0], r: 3.5 * Math.sqrt(same.length),
        title: `${same.map((dot) => dot.utterance).join("\n")}\n${same[0].radius ? `certified radius ${floored(same[0].radius)}` : unique(same.map((dot) => dot.state)).join("\n")}`,
      }));
      show(place, {
        ...frame(place, 1e4), height: 90 + 18 * speakers.length, marginLeft: longest,
        x: { domain: [0, 1.05 * (d3.max(own, (dot) => dot.radius) || 1)], label: null },
        r: { type: "identity" },
        y: { type: "point", domain: speakers, label: null, tickFormat: (name) => (String(name).length > 19 ? `${String(name).slice(0, 18)}…` : name) },
        marks: [
          Plot.gridX(grid), Plot.ruleY(speakers, { stroke: "var(--line)" }),
          Plot.dot(points.filter((dot) => dot.radius > 0), { x: "radius", y: "speaker", fill: "var(--c0)", fillOpacity: 0.75, r: "r" }),
          Plot.dot(points.filter((dot) => !dot.radius), { x: "radius", y: "speaker", symbol: "times", stroke: "var(--broken)", strokeWidth: 1.75, r: "r" }),
          bottom(`certified radius (l2 norm, ${figure.unit})`), Plot.axisX({ anchor: "top", ticks: 6, tickFormat: "~g", label: null, color: "var(--muted)" }),
          tip(points, "radius", "speaker"),
        ],
      });
    };
    if (systems.length > 1) choice(controls, "run", systems, (value) => { system = value; redraw(); });
    if (rules.length > 1) choice(controls, "rule", rules, (value) => { rule = value; redraw(); });
    return redraw;
  }

  const kinds = { accuracy, rates, det, radii };
  const drawn = [...document.querySelectorAll("[data-figure]")].map((place) => {
    const id = place.dataset.figure, figure = figures[id];
    const redraw = kinds[figure.kind](figure, place, document.getElementById(`${id}-controls`));
    redraw();
    return redraw;
  });
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawn.forEach((redraw) => redraw()); } });

  // Copying ------------------------------------------------------------------
  const cells = (table) => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
  const csv = (table) => cells(table).map((row) => row.map((cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(",")).join("\n") + "\n";
  const SPECIAL = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}" };
  const tex = (text) => text.replace(/[\\~^<>&%$#_{}]/g, (one) => SPECIAL[one] || `\\${one}`);
  const latex = (table) => {
    const [head, ...body] = cells(table).map((row) => `  ${row.map(tex).join(" & ")} \\\\`);
    return ["% needs booktabs", `\\begin{tabular}{${"l".repeat(table.rows[0].cells.length)}}`, "  \\toprule", head, "  \\midrule", ...body, "  \\bottomrule", "\\end{tabular}", ""].join("\n");
  };
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // no permission, or no such thing: the older way
      const area = document.body.appendChild(document.createElement("textarea"));
      area.value = text;
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      if (!done) throw new Error("the browser does not let a page copy");
    }
  }
  const status = document.getElementById("status");
  let timer;
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      const kind = button.dataset.copy;
      const table = button.dataset.table && document.querySelector(`#${CSS.escape(button.dataset.table)} table`);
      const text = kind === "csv" ? csv(table) : kind === "latex" ? latex(table) : button.parentElement.querySelector("code").textContent;
      try {
        await copy(text);
        status.textContent = { csv: "Copied as CSV", latex: "Copied as LaTeX", text: "Copied" }[kind];
      } catch (error) {
        status.textContent = `Not copied: ${error.message}`;
      }
      button.focus();
      clearTimeout(timer);
      timer = setTimeout(() => { status.textContent = ""; }, 2500);
    });
  }

  // Print --------------------------------------------------------------------
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));
})();
