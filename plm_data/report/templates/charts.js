// The charts of the report. Each takes the facts, what is selected, the width in pixels and the scheme's colours, and
// gives an ECharts option and a height.
"use strict";

const CHARTS = (() => {
  const { bare, base, count, empty, ink, labels, lines, mixed, names, percent, short, sum } = KIT;

  function decal(pattern) {
    if (!pattern) return undefined;
    return pattern === 1
      ? { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 5], rotation: -Math.PI / 4, color: "rgba(0,0,0,0.6)" }
      : { symbol: "circle", symbolSize: 0.6, dashArrayX: [[6, 6], [0, 6, 6, 0]], dashArrayY: [5, 0], color: "rgba(0,0,0,0.6)" };
  }

  const fill = (group, more) => ({ color: group.colour, decal: decal(group.pattern), ...more });

  const chosen = (facts, state) => facts.groups.filter((group) => state.groups.has(group.name));

  function phases(facts, state, width, theme) {
    const groups = chosen(facts, state);
    const rows = facts.phases.filter((phase) => state.phases.has(phase.name));
    if (!rows.length || !groups.length) return empty(theme);
    const narrow = width < 560;
    const part = (phase, name) => phase.groups.find((row) => row.name === name);
    const domains = (phase) => {
      if (groups.length === facts.groups.length) return phase.domains;
      const sums = new Map();
      for (const group of groups) {
        const row = part(phase, group.name);
        if (row) sums.set(group.domain, (sums.get(group.domain) || 0) + row.shown_tokens);
      }
      return [...sums].map(([name, tokens]) => ({ name, shown_tokens: tokens }));
    };
    const opacity = (phase) => (phase.built ? 1 : 0.5);
    const series = groups.map((group) => ({
      type: "bar", stack: "source", barWidth: 26, name: group.name,
      label: {
        show: true, fontSize: 12, color: ink(group.colour),
        formatter: (at) => (at.value > (narrow ? 0.14 : 0.045) ? percent(at.value) : ""),
      },
      data: rows.map((phase) => {
        const row = part(phase, group.name);
        return { value: row && phase.shown_tokens ? row.shown_tokens / phase.shown_tokens : 0, row, itemStyle: fill(group, { opacity: opacity(phase), borderColor: theme.back, borderWidth: 1 }) };
      }),
    }));
    const deepest = Math.max(...rows.map((phase) => domains(phase).length));
    for (let i = 0; i < deepest; i++) {
      series.push({
        type: "bar", stack: "domain", barWidth: 15, barGap: "10%",
        label: { show: true, fontSize: 11, color: theme.ink, formatter: (at) => (at.value * width > 9 * (at.data.name || "").length + 60 ? at.data.name : "") },
        data: rows.map((phase) => {
          const domain = domains(phase)[i];
          return { value: domain && phase.shown_tokens ? domain.shown_tokens / phase.shown_tokens : 0, name: domain && domain.name, domain, itemStyle: { color: i % 2 ? theme.other : theme.neutral, opacity: opacity(phase), borderColor: theme.back, borderWidth: 1 } };
        }),
      });
    }
    const said = new Map(rows.map((phase) => {
      const apart = phase.tokens - phase.planned_tokens;
      const beside = phase.built ? `${count(phase.tokens)} tokens\n${apart ? `${apart < 0 ? "−" : "+"}${count(Math.abs(apart))} beside the plan` : "as planned"}` : `${count(phase.planned_tokens)} planned\nnot built`;
      return [phase.name, `{name|${phase.name}} {soft|${phase.segment}}\n{soft|${beside}}`];
    }));
    const rich = { name: { fontWeight: "bold", fontSize: 14, color: theme.ink }, soft: { color: theme.soft, fontSize: 12, lineHeight: 16 } };
    const axis = names(theme, rows.map((phase) => phase.name), false, narrow ? 70 : 160, narrow ? { color: theme.ink } : { rich, formatter: (name) => said.get(name), align: "left", margin: 170 });
    const say = (at) => {
      const phase = rows[at.dataIndex], { row, domain } = at.data;
      if (domain) return [`${phase.name}, domain ${domain.name}`, [["tokens", count(domain.shown_tokens)], ["share", percent(at.value)]]];
      return [`${phase.name}, ${at.seriesName}`, row ? [
        ["share", percent(at.value)],
        ["planned", count(row.planned_tokens)],
        ["realised", phase.built ? count(row.tokens) : "not built"],
        ["documents", phase.built ? count(row.documents) : "–"],
        ["epochs so far", row.epochs_so_far === null ? "–" : row.epochs_so_far.toFixed(3)],
      ] : []];
    };
    return {
      height: 34 + 62 * rows.length,
      option: base(theme, say, {
        grid: { left: narrow ? 74 : 176, right: 8, top: 4, bottom: 26 },
        xAxis: { type: "value", max: 1, ...lines(theme), axisLabel: labels(theme, { formatter: (x) => Math.round(100 * x) + "%" }) },
        yAxis: axis, series,
      }),
    };
  }

  function epochs(facts, state, width, theme) {
    const rows = facts.phases.filter((phase) => state.phases.has(phase.name));
    const part = (phase, group) => phase.groups.find((row) => row.name === group.name && row.epochs !== null);
    const groups = chosen(facts, state).filter((group) => rows.some((phase) => part(phase, group)));
    if (!rows.length || !groups.length) return empty(theme, "Nothing is selected, or no source is shown by itself.");
    const narrow = width < 560;
    const totals = groups.map((group) => sum(rows, (phase) => (part(phase, group) ? part(phase, group).epochs : 0)));
    const pixels = (width - (narrow ? 48 : 220)) / Math.max(...totals, 1e-9);
    const series = rows.map((phase, i) => ({
      type: "bar", stack: "all", barWidth: 16, name: phase.name,
      data: groups.map((group, row) => {
        const value = part(phase, group) ? part(phase, group).epochs : 0;
        const colour = mixed(theme.back, group.colour, 0.45 + 0.55 * ((i + 1) / rows.length));
        return {
          value, total: totals[row], itemStyle: { color: colour, decal: decal(group.pattern), borderColor: theme.back, borderWidth: 1 },
          label: { show: value * pixels > 8 * phase.name.length, color: ink(colour), fontSize: 11, formatter: phase.name },
        };
      }),
    }));
    // Of no width: where a row ends, its total is written.
    series.push({ type: "bar", stack: "all", silent: true, data: totals.map(() => 0), label: { show: true, position: "right", color: theme.ink, fontSize: 12, formatter: (at) => totals[at.dataIndex].toFixed(2) } });
    const say = (at) => [`${at.name}, ${at.seriesName}`, [["epochs in it", at.value.toFixed(3)], ["of the phases shown", at.data.total.toFixed(3)]]];
    const high = narrow ? 44 : 28;
    return {
      height: 34 + high * groups.length,
      option: base(theme, say, {
        grid: { left: narrow ? 4 : 176, right: 44, top: narrow ? 12 : 4, bottom: 26 },
        xAxis: { type: "value", ...lines(theme), axisLabel: labels(theme) },
        yAxis: names(theme, groups.map((group) => group.name), narrow, 164, narrow ? { padding: [0, 0, 12, 0] } : {}), series,
      }),
    };
  }

  const SETS = { gopher: "Gopher quality", repetition: "Gopher repetition", c4: "C4", fineweb: "FineWeb", language: "language" };
  const SHOWN_RULES = 14;

  function flow(facts, state, width, theme) {
    const rows = facts.flow.filter((row) => state.groups.has(row.source) && row[state.unit] > 0);
    if (!rows.length) return empty(theme);
    const narrow = width < 700;
    const total = sum(rows, (row) => row[state.unit]);
    const ends = new Map();
    for (const row of rows) if (row.stage !== "kept") ends.set(row.reason, (ends.get(row.reason) || 0) + row[state.unit]);
    const shown = new Set([...ends].sort((a, b) => b[1] - a[1]).slice(0, SHOWN_RULES).map(([name]) => name));
    const stageOf = (row) => row.stage === "door" ? "refused at the door" : row.stage === "duplicate" ? "duplicates" : SETS[row.reason.split(".")[0]] || row.reason;
    const nodes = new Map(), links = new Map();
    const node = (name, label, colour, depth) => nodes.set(name, { name, label, colour, depth });
    const link = (source, target, value, colour) => {
      const key = source + "\n" + target;
      const found = links.get(key) || { source, target, value: 0, lineStyle: { color: colour, opacity: 0.4 } };
      found.value += value;
      links.set(key, found);
    };
    const colours = new Map(facts.groups.map((group) => [group.name, group.colour]));
    for (const row of rows) {
      const value = row[state.unit], from = "source " + row.source;
      node(from, row.source, colours.get(row.source), 0);
      if (row.stage === "kept") {
        node("kept", "kept", theme.good, 1);
        link(from, "kept", value, colours.get(row.source));
        continue;
      }
      const stage = stageOf(row);
      node("stage " + stage, stage, theme.bad, 1);
      link(from, "stage " + stage, value, colours.get(row.source));
      if (!narrow) {
        const rest = `others of ${stage}`, end = shown.has(row.reason) ? row.reason : rest;
        node("end " + end, end, theme.bad, 2);
        link("stage " + stage, "end " + end, value, theme.bad);
      }
    }
    const sums = new Map();
    for (const each of links.values()) {
      sums.set(each.target, (sums.get(each.target) || 0) + each.value);
      if (each.source.startsWith("source ")) sums.set(each.source, (sums.get(each.source) || 0) + each.value);
    }
    const say = (at) => at.dataType === "edge"
      ? [`${nodes.get(at.data.source).label} → ${nodes.get(at.data.target).label}`, [[state.unit, count(at.value)], ["of all", percent(at.value / total)]]]
      : [nodes.get(at.name).label, [[state.unit, count(sums.get(at.name))], ["of all", percent(sums.get(at.name) / total)]]];
    return {
      height: narrow ? 480 : Math.max(420, 34 * Math.max(ends.size > SHOWN_RULES ? SHOWN_RULES + 3 : ends.size, facts.groups.length)),
      option: base(theme, say, {
        series: [{
          type: "sankey", left: 4, right: narrow ? 150 : 322, top: 8, bottom: 8, nodeGap: narrow ? 10 : 17, nodeWidth: 12, nodeAlign: "left", draggable: false,
          emphasis: { focus: "adjacency" },
          label: { color: theme.ink, fontSize: narrow ? 11 : 12, width: narrow ? 144 : 310, overflow: "truncate", formatter: (at) => `${nodes.get(at.name).label}  ${percent(sums.get(at.name) / total)}` },
          data: [...nodes.values()].map((each) => ({ name: each.name, depth: each.depth, itemStyle: { color: each.colour, borderWidth: 0 } })),
          links: [...links.values()],
        }],
      }),
    };
  }

  function costs(facts, state, width, theme) {
    const unit = state.unit;
    const mine = (rule, what) => sum(Object.entries(rule.by_group), ([name, hit]) => (state.groups.has(name) ? hit[what] : 0));
    const rows = facts.rules
      .map((rule) => ({ name: rule.rule, all: mine(rule, unit), alone: mine(rule, "alone_" + unit) }))
      .filter((row) => row.all > 0).sort((a, b) => b.all - a.all).slice(0, 16);
    if (!rows.length) return empty(theme, "No rule fired on what is selected.");
    const narrow = width < 560;
    const bar = (name, of, colour, label) => ({
      type: "bar", stack: "all", name, barWidth: 13, itemStyle: { color: colour },
      data: rows.map((row) => ({ value: of(row), row })),
      label: { show: label, position: "right", color: theme.ink, fontSize: 12, formatter: (at) => short(at.data.row.all) },
    });
    const say = (at) => [at.name, [[unit, count(at.data.row.all)], ["by this rule alone", count(at.data.row.alone)]]];
    const high = narrow ? 40 : 24;
    return {
      height: 60 + high * rows.length,
      option: base(theme, say, {
        legend: { left: 0, top: 0, itemWidth: 12, itemHeight: 12, textStyle: { color: theme.ink }, data: ["by this rule alone", "by others too"] },
        grid: { left: narrow ? 4 : 270, right: 56, top: narrow ? 42 : 30, bottom: 26 },
        xAxis: { type: "value", ...lines(theme), splitNumber: narrow ? 3 : 6, axisLabel: labels(theme, { formatter: short }) },
        yAxis: names(theme, rows.map((row) => row.name), narrow, 262, narrow ? { padding: [0, 0, 11, 0] } : {}),
        series: [bar("by this rule alone", (row) => row.alone, theme.bad, false), bar("by others too", (row) => row.all - row.alone, theme.neutral, true)],
      }),
    };
  }

  return { ...KIT, chosen, decal, fill, charts: { phases, epochs, flow, costs } };
})();
