// The charts of schedules compared.
"use strict";

(() => {
  const { base, bare, empty, labels, lines, short } = KIT;
  const { chart } = TIMELINE;
  const loss = (x) => x.toFixed(4);
  const rate = (x) => (x ? x.toExponential(2).replace(/\.?0+e/, "e") : "0");
  const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(4);
  const chosen = (facts, state) => facts.schedules.filter((schedule) => state.schedules.has(schedule.name));

  // The mean over seeds of curves that have the same steps.
  function mean(curves, key) {
    return curves[0][key].map((point, i) => [point[0], point[1], KIT.sum(curves, (curve) => curve[key][i][2]) / curves.length]);
  }

  function curves(facts, state, key) {
    return chosen(facts, state).flatMap(({ name }) => {
      const own = facts.curves.filter((curve) => curve.schedule === name && curve[key].length);
      if (!own.length) return [];
      const colour = facts.colours[name], together = own.every((curve) => curve[key].length === own[0][key].length);
      const faint = own.map((curve) => ({ name, points: curve[key], colour, width: 1, opacity: 0.35 }));
      return together ? [{ name, points: mean(own, key), colour, width: 2.4 }, ...faint] : faint;
    });
  }

  const over = (key) => (facts, state, width, theme) => {
    const list = curves(facts, state, key);
    return list.length ? chart(facts, { ...state, scale: "linear" }, width, theme, { list, say: loss, tick: (x) => x.toFixed(2) }) : empty(theme, "Nothing was measured here.");
  };

  const charts = {
    // A row a schedule: a dot a seed, a bar the mean.
    final(facts, state, width, theme) {
      const rows = chosen(facts, state);
      if (!rows.length) return empty(theme);
      const dots = rows.flatMap((row, y) => row.losses.map((value, i) => ({ value: [value, y], row, seed: facts.seeds[i], itemStyle: { color: facts.colours[row.name], opacity: 0.75 } })));
      const means = rows.map((row, y) => ({ value: [row.mean, y], row, itemStyle: { color: theme.ink } }));
      const say = ({ data }) => [data.row.name, [[data.seed === undefined ? "mean" : `seed ${data.seed}`, loss(data.value[0])]]];
      return {
        height: 56 + 44 * rows.length,
        option: base(theme, say, {
          grid: { left: 80, right: 20, top: 8, bottom: 44 },
          xAxis: { type: "value", scale: true, name: "held-out loss, nats a token", nameLocation: "middle", nameGap: 26, nameTextStyle: { color: theme.soft }, ...lines(theme), axisLabel: labels(theme, { hideOverlap: true }) },
          yAxis: { type: "category", inverse: true, data: rows.map((row) => row.name), ...bare, axisLabel: labels(theme, { color: theme.ink }) },
          series: [{ type: "scatter", symbolSize: 12, data: dots }, { type: "scatter", symbol: "rect", symbolSize: [3, 26], data: means }],
        }),
      };
    },

    // A row a pair: the interval of the mean difference, its mean, a dot a seed; zero is no difference.
    pairs(facts, state, width, theme) {
      const rows = facts.pairs;
      const name = (row) => `${row.a} − ${row.b}`, all = rows.flatMap((row) => [row.low, row.high, ...row.differences, 0]);
      const reach = 1.08 * Math.max(...all.map(Math.abs)), colour = (row) => (row.low > 0 || row.high < 0 ? theme.good : theme.soft);
      const say = ({ data }) => [name(data.row), [["mean difference", signed(data.row.mean)], ["from", signed(data.row.low)], ["to", signed(data.row.high)], ["verdict", data.row.verdict]]];
      const bar = (params, api) => {
        const [low, high] = [api.coord([api.value(0), api.value(2)]), api.coord([api.value(1), api.value(2)])];
        return { type: "rect", shape: { x: low[0], y: low[1] - 4, width: high[0] - low[0], height: 8, r: 3 }, style: { fill: colour(rows[api.value(2)]), opacity: 0.45 } };
      };
      return {
        height: 56 + 46 * rows.length,
        option: base(theme, say, {
          grid: { left: 120, right: 20, top: 8, bottom: 44 },
          xAxis: { type: "value", min: -reach, max: reach, name: "difference of held-out loss, nats a token", nameLocation: "middle", nameGap: 26, nameTextStyle: { color: theme.soft }, ...lines(theme), axisLabel: labels(theme, { formatter: (x) => (x ? signed(x).replace(/0+$/, "") : "0"), hideOverlap: true, showMinLabel: false, showMaxLabel: false }) },
          yAxis: { type: "category", inverse: true, data: rows.map(name), ...bare, axisLabel: labels(theme, { color: theme.ink }) },
          series: [
            { type: "custom", renderItem: bar, encode: { x: [0, 1], y: 2 }, data: rows.map((row, y) => ({ value: [row.low, row.high, y], row })), markLine: { silent: true, symbol: "none", label: { show: false }, lineStyle: { color: theme.ink, type: "solid", width: 1 }, data: [{ xAxis: 0 }] } },
            { type: "scatter", symbolSize: 9, data: rows.flatMap((row, y) => row.differences.map((value) => ({ value: [value, y], row, itemStyle: { color: theme.heat, opacity: 0.8 } }))) },
            { type: "scatter", symbol: "rect", symbolSize: [3, 24], data: rows.map((row, y) => ({ value: [row.mean, y], row, itemStyle: { color: theme.ink } })) },
          ],
        }),
      };
    },

    loss: over("loss"),
    held_out: over("held_out"),
    rate: (facts, state, width, theme) => {
      const list = chosen(facts, state).map(({ name }) => ({ name, points: facts.curves.find((curve) => curve.schedule === name).rate, colour: facts.colours[name], width: 2.2 }));
      return list.length ? chart(facts, { ...state, scale: "linear" }, width, theme, { list, say: rate, floor: 0 }) : empty(theme);
    },
  };

  const everything = new Set(JSON.parse(document.getElementById("facts").textContent).phases.map((phase) => phase.name));
  FRAME.start(charts, (data) => ({ phases: everything, schedules: new Set(data.getAll("schedule")), along: "tokens" }));
})();
