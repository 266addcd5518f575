// Charts over a run: lines by tokens or steps, with the data phases shaded.
"use strict";

const TIMELINE = (() => {
  const { base, empty, labels, short, PALETTE } = KIT;
  const SEGMENTS = { stable: "#0072B2", decay: "#E69F00", constant: "#009E73", sft: "#CC79A7" };
  const whole = new Intl.NumberFormat("en");

  // A point is [tokens, step, value, …]; `along` says which of the first two is the place.
  const place = (state) => (state.along === "steps" ? 1 : 0);

  // Round marks of an axis of logarithms, at most about `most`; ECharts' own has them at powers of ten alone.
  function rounds(low, high, most) {
    let found = [];
    for (const digits of [[1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 5, 7], [1, 2, 5], [1]]) {
      found = [];
      for (let power = Math.floor(low); power <= high; power++) for (const digit of digits) found.push(power + Math.log10(digit));
      found = found.filter((at) => at >= low - 1e-9 && at <= high + 1e-9);
      if (found.length <= most) break;
    }
    return found;
  }

  // Of points, those in the phases that are selected. Phases lie one after the other, by tokens.
  function within(points, facts, state) {
    const shown = facts.phases.filter((phase) => state.phases.has(phase.name));
    if (shown.length === facts.phases.length) return points;
    return points.filter(([tokens]) => shown.some((phase) => tokens > phase.start && tokens <= phase.end));
  }

  // Where a phase starts and ends on the axis; in steps it is known by the points in it.
  function span(phase, facts, state, points) {
    if (state.along !== "steps") return [phase.start, phase.end];
    const before = points.filter(([tokens]) => tokens <= phase.start), own = points.filter(([tokens]) => tokens <= phase.end);
    return own.length ? [before.length ? before[before.length - 1][1] : 0, own[own.length - 1][1]] : [0, 0];
  }

  function shades(facts, state, width, theme, points, from, to, along) {
    const room = Math.max(1e-9, along(to) - along(from));
    return facts.phases.filter((phase) => state.phases.has(phase.name)).map((phase) => {
      const [start, end] = span(phase, facts, state, points).map((at) => along(Math.min(to, Math.max(from, at))));
      const wide = ((end - start) / room) * width;
      const fits = (text) => 7 * text.length < wide;
      const name = fits(phase.name) ? phase.name : "", segment = fits(phase.segment) ? phase.segment : "";
      return [{
        xAxis: start, itemStyle: { color: SEGMENTS[phase.segment], opacity: 0.09 },
        label: { show: Boolean(name || segment), formatter: () => (name === segment ? name : [name, segment].filter(Boolean).join("\n")), position: "insideTop", color: theme.soft, fontSize: 11, lineHeight: 14 },
      }, { xAxis: end }];
    });
  }

  // `list`: the lines, each {name, points, colour, width, opacity, dashed, symbol, z}; `say`: a value in words, `tick` on
  // the axis; `all`: the points that tell where phases lie in steps; `log`: true, or "wide" for where values span much;
  // `marks`: dashed lines, each {y} across or {point} down.
  function chart(facts, state, width, theme, { list, say, tick, all, floor, height, log, marks, legend }) {
    const at = place(state);
    const drawn = list.map((line) => ({ ...line, points: within(line.points, facts, state) }));
    const points = drawn.flatMap((line) => line.points);
    if (!points.length) return empty(theme, state.phases.size ? "Nothing was measured here." : "No phase is selected.");
    const places = points.map((point) => point[at]);
    const least = Math.min(...places), to = Math.max(...places);
    const byStep = all || list[0].points;
    const starts = facts.phases.filter((phase) => state.phases.has(phase.name)).map((phase) => span(phase, facts, state, byStep)[0]);
    const scaled = state.scale === "log";
    const from = scaled ? Math.max(1, least) : Math.min(least, ...starts);
    const along = (value) => (scaled ? Math.log10(Math.max(1, value)) : value);
    const narrow = width < 560;
    const values = points.map((point) => point[2]), low = Math.min(...values);
    const logs = low > 0 && (log === "wide" ? Math.max(...values) / low > 20 : log);
    const up = (value) => (logs ? Math.log10(value) : value);
    const form = tick || say;
    const high = Math.max(...values);
    const [bottom, top] = logs ? [Math.log10(low) - 0.02, Math.log10(high) + 0.02] : [floor, undefined];
    const xs = scaled ? rounds(along(from), along(to), narrow ? 5 : 10) : undefined;
    const ys = logs ? rounds(bottom, top, 9) : undefined;
    const series = drawn.map((line, i) => ({
      type: "line", name: line.name, showSymbol: Boolean(line.symbol) && line.points.length <= 60, symbol: line.symbol || "circle", symbolSize: 6,
      lineStyle: { width: line.width || 2, color: line.colour, opacity: line.opacity || 1, type: line.dashed ? [6, 4] : "solid" },
      itemStyle: { color: line.colour }, emphasis: { disabled: true }, z: line.z || (line.opacity ? 2 : 3), silent: !line.symbol,
      data: line.points.map((point) => [along(point[at]), up(point[2])]),
      markArea: i ? undefined : { silent: true, data: shades(facts, state, width - 70, theme, byStep, from, to, along) },
      markLine: i || !marks || !marks.length ? undefined : { silent: true, symbol: "none", label: { show: false }, lineStyle: { type: "dashed", color: theme.bad }, data: marks.map((mark) => (mark.y === undefined ? { xAxis: along(mark.point[at]) } : { yAxis: up(mark.y) })) },
    }));
    // Lines have points at places of their own: of each the nearest is told, and of lines of one name the first.
    const tip = ([{ axisValue }]) => {
      const told = new Map();
      for (const line of drawn) {
        if (told.has(line.name) || !line.points.length) continue;
        told.set(line.name, line.points.reduce((a, b) => (Math.abs(along(b[at]) - axisValue) < Math.abs(along(a[at]) - axisValue) ? b : a)));
      }
      const [first] = told.values(), phase = facts.phases.find((each) => first[0] > each.start && first[0] <= each.end);
      const title = `${whole.format(Math.round(first[0]))} tokens${first[1] ? `, step ${whole.format(first[1])}` : ""}`;
      return [title, [...(phase ? [["phase", phase.name]] : []), ...[...told].map(([name, point]) => [name, say(point[2])])]];
    };
    const option = base(theme, tip, {
      legend: legend === false ? undefined : { left: 0, top: 0, itemWidth: 22, itemHeight: 8, textStyle: { color: theme.ink }, inactiveColor: theme.soft, selectedMode: false },
      grid: { left: 58, right: 12, top: legend === false ? 10 : narrow && new Set(list.map((line) => line.name)).size > 3 ? 64 : 34, bottom: 44 },
      xAxis: {
        type: "value", min: along(from), max: along(to), name: state.along === "steps" ? "steps" : "tokens", nameLocation: "middle", nameGap: 26, nameTextStyle: { color: theme.soft },
        splitNumber: narrow ? 4 : 8, axisLabel: labels(theme, { formatter: scaled ? (x) => short(10 ** x) : short, hideOverlap: true, showMinLabel: scaled, showMaxLabel: scaled, customValues: xs }), axisTick: { customValues: xs }, axisLine: { lineStyle: { color: theme.line } }, splitLine: { show: false },
      },
      yAxis: {
        type: "value", scale: true, min: bottom, max: top, splitLine: { lineStyle: { color: theme.grid }, customValues: ys },
        axisTick: { show: false, customValues: ys }, axisLabel: labels(theme, { formatter: logs ? (x) => form(10 ** x) : form, customValues: ys, showMinLabel: true, showMaxLabel: !logs }),
      },
      series,
    });
    option.tooltip = { ...option.tooltip, trigger: "axis", axisPointer: { type: "line", lineStyle: { color: theme.soft } } };
    return { height: height || (narrow ? 280 : 340), option };
  }

  return { chart, place, within, PALETTE };
})();
