// The charts of a training run.
"use strict";

(() => {
  const { base, bare, empty, labels, mixed, percent, short } = KIT;
  const { chart, place, within, PALETTE } = TIMELINE;
  const loss = (x) => x.toFixed(3);
  const rate = (x) => (x ? x.toExponential(2).replace(/\.?0+e/, "e") : "0");
  const line = (name, points, colour, more) => ({ name, points, colour, ...more });
  const each = (facts) => (facts.series.whole ? "each step" : "extremes");
  const strong = (theme) => theme.heat;

  const charts = {
    loss: (facts, state, width, theme) => chart(facts, state, width, theme, {
      say: loss, tick: short, log: state.scale === "log", height: width < 560 ? 320 : 420,
      marks: within(facts.marks, facts, state).map((point) => ({ point })),
      list: [
        line(each(facts), facts.series.loss, strong(theme), { width: 1, opacity: 0.4 }),
        line(`mean of ${facts.series.smooth_width} steps`, facts.series.smooth, strong(theme), { width: 2.2 }),
      ],
    }),

    held_out(facts, state, width, theme) {
      const of = (row, value) => [row.tokens, row.step, value];
      const sources = facts.sources.filter((source) => state.sources.has(source.name));
      const list = sources.map((source) => line(
        source.name,
        facts.held_out.filter((row) => row.by_source[source.name] !== undefined && row.by_source[source.name] !== null).map((row) => of(row, row.by_source[source.name])),
        source.colour, { width: 1.6, symbol: source.symbol },
      ));
      if (state.sources.has("")) list.unshift(line("all held-out text", facts.held_out.filter((row) => row.loss !== null).map((row) => of(row, row.loss)), theme.ink, { width: 2.6, symbol: "circle", z: 4 }));
      return list.length ? chart(facts, state, width, theme, { list, say: loss, tick: short, all: facts.series.loss, log: state.scale === "log", legend: list.length < 7 ? undefined : false }) : empty(theme);
    },

    rate(facts, state, width, theme) {
      const list = [line("as applied", facts.series.learning_rate, strong(theme), { width: 2.4 })];
      if (facts.series.plan) list.push(line("as planned", facts.series.plan.map(([tokens, value]) => [tokens, 0, value]), theme.bad, { width: 1.6, dashed: true }));
      // The plan knows no steps.
      return chart(facts, { ...state, along: "tokens", scale: "linear" }, width, theme, { list, say: rate, floor: 0 });
    },

    norm: (facts, state, width, theme) => chart(facts, state, width, theme, {
      say: (x) => x.toPrecision(3), tick: short, log: "wide", legend: false, marks: [{ y: facts.train.gradient_clip }],
      list: [line("gradient norm", facts.series.gradient_norm, strong(theme), { width: 1.2 })],
    }),

    speed: (facts, state, width, theme) => chart(facts, state, width, theme, {
      say: (x) => KIT.count(Math.round(x)), tick: short, floor: 0,
      list: [
        line(each(facts), facts.series.tokens_per_second, strong(theme), { width: 1, opacity: 0.4 }),
        line(`mean of ${facts.series.smooth_width} steps`, facts.series.speed_smooth, strong(theme), { width: 2.2 }),
      ],
    }),

    mfu: (facts, state, width, theme) => chart(facts, state, width, theme, {
      say: percent, tick: (x) => Math.round(100 * x) + "%", floor: 0, legend: false,
      list: [line("MFU", facts.series.mfu, strong(theme), { width: 1.4 })],
    }),

    // Few layers are lines; many are a heat map, the last layer at the top.
    zeros(facts, state, width, theme) {
      const { layers, columns } = facts.zeros;
      if (layers <= PALETTE.length) {
        const list = Array.from({ length: layers }, (_, layer) => line(`layer ${layer}`, columns.map((column) => [column.tokens, column.to, column.mean[layer]]), PALETTE[layer], { width: 1.8 }));
        return chart(facts, state, width, theme, { list, say: percent, tick: (x) => Math.round(100 * x) + "%", all: facts.series.loss, legend: layers <= 4 || width >= 560 ? undefined : false });
      }
      const shown = within(columns.map((column) => [column.tokens, column.to, 0, column]), facts, state).map((point) => point[3]);
      if (!shown.length) return empty(theme, "Nothing was measured here.");
      const shares = shown.flatMap((column) => column.mean);
      const low = Math.floor(10 * Math.min(...shares)) / 10, high = Math.max(low + 0.1, Math.ceil(10 * Math.max(...shares)) / 10);
      const at = place(state), narrow = width < 560;
      const say = ({ data }) => [`layer ${data.layer}, ${percent(data.value[2])} zeros`, [["tokens", KIT.count(data.column.tokens)], ["steps", `${KIT.count(data.column.from)} to ${KIT.count(data.column.to)}`]]];
      return {
        height: 96 + Math.min(15, Math.max(9, 480 / layers)) * layers,
        option: base(theme, say, {
          grid: { left: 58, right: 12, top: 46, bottom: 44 },
          visualMap: { type: "continuous", min: low, max: high, orient: "horizontal", left: 110, top: 0, itemWidth: 12, itemHeight: narrow ? 120 : 200, calculable: false, text: [percent(high), percent(low)], textStyle: { color: theme.soft }, inRange: { color: [mixed(theme.back, theme.heat, 0.06), theme.heat, mixed(theme.heat, theme.ink, 0.6)] } },
          xAxis: { type: "category", data: shown.map((column) => short(at ? column.to : column.tokens)), ...bare, name: at ? "steps" : "tokens", nameLocation: "middle", nameGap: 26, nameTextStyle: { color: theme.soft }, axisLabel: labels(theme, { hideOverlap: true }) },
          yAxis: { type: "category", data: Array.from({ length: layers }, (_, layer) => String(layer)), ...bare, name: "layer", nameTextStyle: { color: theme.soft }, axisLabel: labels(theme, { hideOverlap: true }) },
          series: [{ type: "heatmap", data: shown.flatMap((column, x) => column.mean.map((share, layer) => ({ value: [x, layer, share], layer, column }))), itemStyle: { borderWidth: 0 }, emphasis: { disabled: true } }],
        }),
      };
    },
  };

  FRAME.start(charts, (data) => ({ phases: new Set(data.getAll("phase")), sources: new Set(data.getAll("source")), along: data.get("along"), scale: data.get("scale") }));
})();
