// The charts of what is measured: histograms in rows, matrices, categories.
"use strict";

(() => {
  const { base, bare, chosen, clip, count, decal, empty, figure, fill, ink, labels, lines, mixed, names, percent, short, sum, PALETTE } = CHARTS;

  // The edges that the axis names, at most about `most`: round numbers, as far as there are such.
  function ticks({ scale, edges }, most) {
    const all = edges.map((_, i) => i);
    let found = [];
    if (scale === "log") {
      const digit = (x) => Number(x.toExponential(2).split("e")[0]);
      for (const digits of [[1, 2, 5], [1]]) {
        found = all.filter((i) => edges[i] === 0 || digits.includes(digit(edges[i])));
        if (found.length <= most) break;
      }
    } else {
      const least = (edges[edges.length - 1] - edges[0]) / most;
      const unit = 10 ** Math.floor(Math.log10(least));
      const step = [1, 2, 5, 10].map((times) => times * unit).find((size) => size >= least);
      found = all.filter((i) => Math.abs(edges[i] / step - Math.round(edges[i] / step)) < 1e-6);
    }
    const apart = Math.ceil((found.length > 1 ? found.length : edges.length) / most);
    return (found.length > 1 ? found : all).filter((_, i) => i % apart === 0);
  }

  // A histogram a source, one above the other on one axis. Bins are drawn equally wide: the axis says where they end.
  // `limits`: group → thresholds, which are edges; `scale`: of a count, as a share of its row's largest.
  function rows(facts, state, width, theme, { distribution, limits, bound, scale }) {
    const { edges, by_source: bySource, closed } = distribution;
    const groups = chosen(facts, state).filter((group) => bySource[group.name]);
    if (!groups.length) return empty(theme, "Nothing here of what is selected.");
    const bins = edges.length - 1, narrow = width < 480;
    // Few rows have room to be high.
    const high = (narrow ? 18 : 0) + (groups.length <= 2 ? 62 : groups.length <= 6 ? 46 : 34);
    const beyond = (name, bin) => limits && (limits[name] || []).length === 1
      && (bound === "min" ? edges[bin + 1] <= limits[name][0] : edges[bin] >= limits[name][0]);
    const bars = [], marks = [], notes = [];
    groups.forEach((group, row) => {
      const { documents, kept } = bySource[group.name];
      const most = scale(Math.max(1, ...documents));
      let past = 0;
      documents.forEach((n, bin) => {
        const out = beyond(group.name, bin);
        if (out) past += n;
        if (n) bars.push({ value: [bin, row, n, kept[bin]], group, most, out });
      });
      const mine = (limits && limits[group.name]) || [];
      for (const limit of mine) marks.push({ value: [edges.indexOf(limit), row], limit });
      const total = sum(documents, (n) => n);
      notes.push(!limits ? short(total) : mine.length === 1 ? `${bound} ${mine[0] < 10000 ? figure(mine[0]) : short(mine[0])}: ${total ? percent(past / total) : "–"}` : mine.length ? `${mine.length} thresholds` : "off");
    });
    const band = high - (narrow ? 26 : 8);
    const drawBar = (params, api) => {
      const { group, most, out } = bars[params.dataIndex];
      const [x, y] = api.coord([api.value(0), api.value(1)]);
      const wide = api.size([1, 0])[0], bottom = y + high / 2 - 2;
      const box = (n, style) => ({ type: "rect", shape: { x: x + 0.5, y: bottom - band * (scale(n) / most), width: Math.max(wide - 1, 1), height: band * (scale(n) / most) }, style });
      const full = { fill: out ? theme.bad : group.colour, decal: decal(group.pattern) };
      if (limits) return box(api.value(2), full);
      const both = [box(api.value(2), { ...full, opacity: 0.3 })];
      if (api.value(3)) both.push(box(api.value(3), full));
      return { type: "group", children: both };
    };
    const drawMark = (params, api) => {
      const [x, y] = api.coord([api.value(0), api.value(1)]);
      return { type: "line", shape: { x1: x, x2: x, y1: y + high / 2 - 1, y2: y + high / 2 - band - 4 }, style: { stroke: theme.ink, lineWidth: 1.5, lineDash: [4, 2] } };
    };
    const say = (at) => {
      const item = bars[at.dataIndex], [bin, , n, kept] = item.value;
      const range = closed === "left" ? `from ${figure(edges[bin])} to under ${figure(edges[bin + 1])}` : `over ${figure(edges[bin])}, up to ${figure(edges[bin + 1])}`;
      return [item.group.name, [[range, ""], ["documents", count(n)], ["kept in the end", count(kept)], ...(item.out ? [["beyond the threshold", ""]] : [])]];
    };
    const longest = Math.max(...groups.map((group) => group.name.length));
    const left = narrow ? 4 : Math.min(130, 18 + 7 * longest), right = narrow ? 8 : limits ? 104 : 52;
const named = ticks(distribution, Math.max(3, Math.floor((width - left - right) / 48)));
    return {
      height: 30 + high * groups.length,
      option: base(theme, say, {
        grid: { left, right, top: 4, bottom: 24 },
        xAxis: { type: "value", min: 0, max: bins, splitLine: { show: false }, axisLine: { show: true, lineStyle: { color: theme.line } }, axisTick: { show: true, customValues: named, lineStyle: { color: theme.line } },
          axisLabel: labels(theme, { fontSize: 11, hideOverlap: true, customValues: named, formatter: (i) => short(edges[i]) }) },
        yAxis: [
          { ...names(theme, groups.map((group, i) => (narrow ? `${group.name}  ${notes[i]}` : group.name)), narrow, left - 8, narrow ? { padding: [0, 0, high / 2 - 16, 0] } : {}), splitLine: { show: true, lineStyle: { color: theme.grid } } },
          { ...names(theme, notes, false, right - 8, { fontSize: 11 }), show: !narrow, position: "right" },
        ],
        series: [
          { type: "custom", renderItem: drawBar, data: bars, encode: { x: 0, y: 1 } },
          { type: "custom", renderItem: drawMark, data: marks, encode: { x: 0, y: 1 }, silent: true, z: 5 },
        ],
      }),
    };
  }

  function rule(facts, state, width, theme, detail) {
    const { distribution, limits, bound } = facts.rules[detail];
    return rows(facts, state, width, theme, { distribution, limits, bound, scale: (n) => Math.log1p(n) });
  }

  const lengths = (facts, state, width, theme) => rows(facts, state, width, theme, { distribution: facts.lengths, scale: (n) => n });

  function attribute(facts, state, width, theme, detail) {
    const found = facts.attributes[detail];
    if (found.kind === "number") return rows(facts, state, width, theme, { distribution: found.distribution, scale: (n) => Math.sqrt(n) });
    const groups = chosen(facts, state).filter((group) => found.values.some((each) => each.by_source[group.name]));
    if (!groups.length) return empty(theme, "Nothing here of what is selected.");
    const narrow = width < 480, high = narrow ? 44 : 30;
    const totals = new Map(groups.map((group) => [group.name, sum(found.values, (each) => (each.by_source[group.name] || { documents: 0 }).documents)]));
    const say = (at) => [`${at.name}: ${at.seriesName}`, [["documents", count(at.data.sums.documents)], ["share", percent(at.value)], ["kept", count(at.data.sums.kept)]]];
    const series = found.values.map((each, i) => ({
      type: "bar", stack: "all", barWidth: 18, name: each.value,
      itemStyle: { color: PALETTE[i % 8], decal: decal(Math.floor(i / 8)), borderColor: theme.back, borderWidth: 1 },
      label: { show: true, fontSize: 11, color: ink(PALETTE[i % 8]), formatter: (at) => (at.value * (width - 140) > 7 * each.value.length + 10 ? each.value : "") },
      data: groups.map((group) => {
        const sums = each.by_source[group.name] || { documents: 0, kept: 0 };
        return { value: sums.documents / totals.get(group.name), sums };
      }),
    }));
    return {
      height: 34 + high * groups.length,
      option: base(theme, say, {
        grid: { left: narrow ? 4 : 118, right: 12, top: narrow ? 14 : 4, bottom: 26 },
        xAxis: { type: "value", max: 1, ...lines(theme), axisLabel: labels(theme, { formatter: (x) => Math.round(100 * x) + "%" }) },
        yAxis: names(theme, groups.map((group) => group.name), narrow, 110, narrow ? { padding: [0, 0, 13, 0] } : {}), series,
      }),
    };
  }

  function matrix(width, theme, { down, across, cells, say, label }) {
    const most = Math.max(...cells.map((cell) => cell.shade), 1e-9);
    const narrow = width < 480, left = narrow ? 92 : 130;
    const cell = Math.min(120, (width - left - 8) / across.length);
    const top = cell < 80 ? 78 : 34;
    const data = cells.map((each) => {
      const colour = mixed(theme.back, theme.heat, 0.06 + 0.94 * Math.sqrt(each.shade / most));
      return {
        value: [each.x, each.y, each.shade], itemStyle: { color: colour, borderColor: theme.back, borderWidth: 2 },
        label: { show: cell > 30, color: ink(colour), formatter: () => label(each) },
      };
    });
    return {
      height: top + 30 * down.length + 12,
      option: base(theme, (at) => say(cells[at.dataIndex]), {
        grid: { left, top, width: cell * across.length, height: 30 * down.length },
        xAxis: { type: "category", position: "top", data: across, ...bare, axisLabel: labels(theme, { interval: 0, rotate: cell < 80 ? 40 : 0, fontSize: 11, width: cell < 80 ? 96 : cell - 6, overflow: "truncate" }) },
        yAxis: names(theme, down, false, left - 8, { interval: 0 }),
        series: [{ type: "heatmap", data, emphasis: { disabled: true } }],
      }),
    };
  }

  function pairs(rows, other, say) {
    return (facts, state, width, theme) => {
      const found = rows(facts).filter((row) => state.groups.has(row.source) && state.groups.has(row[other]));
      if (!found.length) return empty(theme, "No two of what is selected share a duplicate.");
      const used = chosen(facts, state).map((group) => group.name).filter((name) => found.some((row) => row.source === name || row[other] === name));
      const cells = found.map((row) => ({ x: used.indexOf(row[other]), y: used.indexOf(row.source), shade: row.documents, row }));
      return matrix(width, theme, { down: used, across: used, cells, say: (cell) => say(cell.row), label: (cell) => short(cell.row.documents) });
    };
  }

  const overlap = pairs((facts) => facts.duplicates.overlap, "other", (row) => [
    `${row.source} with ${row.other}`, [["documents of " + row.source, count(row.documents)], ["clusters of both", count(row.clusters)]],
  ]);
  const lost = pairs((facts) => facts.duplicates.lost_to, "winner_source", (row) => [
    `${row.source} lost to ${row.winner_source}`, [["exact", count(row.exact)], ["near", count(row.near)], ["tokens", count(row.tokens)]],
  ]);

  const SHOWN_LANGUAGES = 10, OTHER = "other";

  function languages(facts, state, width, theme) {
    const found = facts.languages.filter((row) => state.groups.has(row.source));
    const groups = chosen(facts, state).filter((group) => found.some((row) => row.source === group.name));
    if (!groups.length) return empty(theme);
    const unit = state.unit;
    const totals = new Map();
    for (const row of found) totals.set(row.detected, (totals.get(row.detected) || 0) + row[unit]);
    const ranked = [...totals].filter(([name]) => name !== OTHER).sort((a, b) => b[1] - a[1]).map(([name]) => name);
    const across = ranked.slice(0, width < 480 ? 4 : SHOWN_LANGUAGES);
    if (totals.size > across.length) across.push(OTHER);
    const column = (name) => (across.includes(name) ? across.indexOf(name) : across.length - 1);
    const cells = new Map();
    groups.forEach((group, y) => {
      const mine = found.filter((row) => row.source === group.name);
      const whole = sum(mine, (row) => row[unit]);
      for (const row of mine) {
        const key = `${y} ${column(row.detected)}`;
        const cell = cells.get(key) || { x: column(row.detected), y, shade: 0, n: 0, kept: 0, group, declared: new Set() };
        cell.n += row[unit];
        cell.kept += row["kept_" + unit];
        cell.shade = whole ? cell.n / whole : 0;
        cell.declared.add(row.declared);
        cells.set(key, cell);
      }
    });
    return matrix(width, theme, {
      down: groups.map((group) => group.name), across, cells: [...cells.values()],
      label: (cell) => percent(cell.shade),
      say: (cell) => [`${cell.group.name}: ${across[cell.x]}`, [["declared", clip([...cell.declared].join(", "), 60)], [unit, count(cell.n)], ["share", percent(cell.shade)], ["kept", count(cell.kept)]]],
    });
  }

  function sizes(facts, state, width, theme) {
    const { near, exact } = facts.duplicates.sizes;
    const all = [...new Map([...near, ...exact].map((row) => [row.size_to, row])).values()].sort((a, b) => a.size_to - b.size_to);
    if (!all.length) return empty(theme, "There is no cluster of duplicates.");
    const said = (row) => (row.size_from === row.size_to ? String(row.size_to) : `${short(row.size_from)}–${short(row.size_to)}`);
    const bar = (name, rows, colour) => ({
      type: "bar", name, barMaxWidth: 40, itemStyle: { color: colour },
      label: { show: true, position: "top", fontSize: 11, color: theme.ink, formatter: (at) => short(at.value) },
      data: all.map((row) => {
        const found = rows.find((each) => each.size_to === row.size_to);
        return found ? { value: found.clusters, found } : { value: null };
      }),
    });
    const say = (at) => [`${at.seriesName} of ${at.name}`, [["clusters", count(at.data.found.clusters)], ["documents", count(at.data.found.documents)]]];
    return {
      height: 260,
      option: base(theme, say, {
        legend: { left: 0, top: 0, itemWidth: 12, itemHeight: 12, textStyle: { color: theme.ink } },
        grid: { left: 44, right: 8, top: 44, bottom: 40 },
        xAxis: { type: "category", data: all.map(said), ...bare, name: "documents in a cluster", nameLocation: "middle", nameGap: 26, nameTextStyle: { color: theme.soft }, axisLabel: labels(theme) },
        yAxis: { type: "log", min: 0.1, startValue: 0.1, ...lines(theme), axisLabel: labels(theme, { formatter: (n) => (n < 1 ? "" : short(n)) }) },
        series: [bar("near duplicates", near, theme.heat), bar("exact copies", exact, theme.neutral)],
      }),
    };
  }

  function fertility(facts, state, width, theme) {
    const narrow = width < 560;
    const list = [];
    for (const [kind, most] of [["source", 20], ["domain", 12], ["language", 8]]) {
      for (const row of facts.fertility["by_" + kind].slice(0, most)) {
        const group = kind === "source" && facts.groups.find((each) => each.name === row.source);
        if (kind !== "source" || state.groups.has(row.source)) list.push({ kind, name: row[kind], row, group });
      }
    }
    if (!list.length) return empty(theme);
    const key = (each) => `${each.kind} ${each.name}`;
    const panel = (what, i) => ({
      type: "bar", xAxisIndex: i, yAxisIndex: i, barWidth: 12, name: what,
      data: list.map((each) => ({ value: each.row[what], each, itemStyle: each.group ? fill(each.group) : { color: each.kind === "domain" ? theme.neutral : theme.heat } })),
      label: { show: true, position: "right", fontSize: 11, color: theme.ink, formatter: (at) => (at.value === null ? "" : at.value.toFixed(2)) },
    });
    const left = narrow ? 112 : 176, half = (width - left) / 2;
    const grids = [{ left, width: half - 44 }, { left: left + half, width: half - 44 }].map((grid) => ({ ...grid, top: 26, bottom: 4 }));
    const titles = ["tokens a word", "bytes a token"];
    const axis = names(theme, list.map(key), false, left - 8, {});
    const say = (at) => [key(at.data.each), [["tokens a word", at.data.each.row.tokens_per_word], ["bytes a token", at.data.each.row.bytes_per_token], ["kept: tokens a word", at.data.each.row.kept_tokens_per_word], ["kept: bytes a token", at.data.each.row.kept_bytes_per_token]].map(([a, b]) => [a, b === null ? "–" : b.toFixed(3)])];
    return {
      height: 36 + 22 * list.length,
      option: base(theme, say, {
        grid: grids,
        title: titles.map((text, i) => ({ text, left: grids[i].left, top: 0, padding: 0, textStyle: { fontSize: 12, fontWeight: 600, color: theme.soft } })),
        xAxis: grids.map((_, i) => ({ type: "value", gridIndex: i, ...lines(theme), axisLabel: { show: false } })),
        yAxis: grids.map((_, i) => ({ ...axis, gridIndex: i, axisLabel: { ...axis.axisLabel, show: i === 0 } })),
        series: [panel("tokens_per_word", 0), panel("bytes_per_token", 1)],
      }),
    };
  }

  Object.assign(CHARTS.charts, { rule, lengths, attribute, overlap, lost, languages, sizes, fertility });
})();
