// What the charts of every page have in common. Text reaches tooltips as text nodes only, so none of it is ever parsed.
"use strict";

const KIT = (() => {
  const PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8c8c8c"];
  const LIMITS = [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]];
  const whole = new Intl.NumberFormat("en");
  const count = (n) => whole.format(n);
  const percent = (x) => (x > 0 && x < 0.0005 ? "< 0.1%" : (100 * x).toFixed(1) + "%");
  const figure = (x) => String(Number(x.toPrecision(6)));
  const sum = (items, of) => items.reduce((total, item) => total + of(item), 0);
  const clip = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

  function short(n) {
    const limit = LIMITS.find(([at]) => Math.abs(n) >= at);
    return limit ? String(Number((n / limit[0]).toPrecision(3))) + limit[1] : String(Number(n.toPrecision(3)));
  }

  const channels = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));

  // Black or white, whichever has more contrast on a colour (WCAG's relative luminance).
  function ink(colour) {
    const [r, g, b] = channels(colour).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    return (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) ? "#000000" : "#ffffff";
  }

  function mixed(from, to, share) {
    const [a, b] = [channels(from), channels(to)];
    return "#" + a.map((c, i) => Math.round(c + share * (b[i] - c)).toString(16).padStart(2, "0")).join("");
  }

  function tip(title, rows) {
    const box = document.createElement("div");
    box.className = "tip";
    const head = box.appendChild(document.createElement("b"));
    head.textContent = title;
    const table = box.appendChild(document.createElement("table"));
    for (const cells of rows) {
      const row = table.insertRow();
      for (const cell of cells) row.insertCell().textContent = cell;
    }
    return box;
  }

  // What all charts have in common; `say` makes a tooltip's title and rows of what is pointed at.
  function base(theme, say, more) {
    return {
      animation: false,
      textStyle: { fontFamily: "system-ui, sans-serif", color: theme.ink },
      tooltip: {
        trigger: "item", confine: true, backgroundColor: theme.back, borderColor: theme.line,
        textStyle: { color: theme.ink }, formatter: (at) => tip(...say(at)),
      },
      ...more,
    };
  }

  const labels = (theme, more) => ({ color: theme.soft, fontSize: 12, ...more });
  const bare = { axisLine: { show: false }, axisTick: { show: false } };
  const lines = (theme) => ({ splitLine: { lineStyle: { color: theme.grid } } });
  const empty = (theme, text) => ({
    height: 60,
    option: { graphic: { type: "text", left: 0, top: 20, style: { text: text || "Nothing is selected.", fill: theme.soft, fontSize: 14 } } },
  });

  // Names of rows: beside the rows, or above each where there is no room for that.
  function names(theme, list, narrow, width, more) {
    const label = narrow
      ? labels(theme, { inside: true, align: "left", verticalAlign: "bottom", margin: 0, ...more })
      : labels(theme, { width, overflow: "truncate", ...more });
    return { type: "category", inverse: true, data: list, ...bare, axisLabel: label, z: 3 };
  }

  return { bare, base, clip, count, empty, figure, ink, labels, lines, mixed, names, percent, short, sum, PALETTE };
})();
