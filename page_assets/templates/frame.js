// The frame of a page: reads its facts, draws each chart when it comes into view, and anew when a control, the width or
// the colour scheme changes.
"use strict";

const FRAME = (() => {
  const COLOURS = ["ink", "soft", "line", "grid", "back", "bad", "good", "neutral", "other", "heat"];

  function theme() {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue("--" + name).trim()]));
  }

  // `charts`: name → function of (facts, state, width, theme, detail) that gives an ECharts option and a height;
  // `read`: the state from the page's form, if it has one.
  function start(charts, read) {
    const facts = JSON.parse(document.getElementById("facts").textContent);
    const form = document.getElementById("filters");
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const drawn = new Map();
    document.documentElement.classList.add("js");
    if (form) {
      form.hidden = false;
      if (innerWidth < 700) form.querySelector("details").open = false;
    }
    const selected = () => read(form && new FormData(form));

    function draw(box, state = selected(), colours = theme()) {
      const { height, option } = charts[box.dataset.chart](facts, state, box.clientWidth, colours, Number(box.dataset.detail));
      box.style.height = box.style.minHeight = height + "px";
      let chart = drawn.get(box);
      if (!chart) {
        chart = echarts.init(box, null, { renderer: "svg" });
        drawn.set(box, chart);
        // What the chart says is in the label of its box; its parts are for the eye alone.
        box.firstElementChild.setAttribute("aria-hidden", "true");
      }
      chart.resize({ width: box.clientWidth, height, silent: true });
      chart.setOption(option, { notMerge: true });
      box.dataset.width = box.clientWidth;
    }

    function redraw() {
      const state = selected(), colours = theme();
      for (const box of drawn.keys()) if (box.clientWidth) draw(box, state, colours);
    }

    const boxes = [...document.querySelectorAll(".chart")];
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting && !drawn.has(entry.target)) draw(entry.target);
    }, { rootMargin: "300px" });
    const resized = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        if (drawn.has(target) && target.clientWidth && target.dataset.width !== String(target.clientWidth)) draw(target);
      }
    });
    // The first ones at once, the others when they are near.
    for (const box of boxes) if (box.clientWidth && box.getBoundingClientRect().top < innerHeight) draw(box);
    for (const box of boxes) {
      seen.observe(box);
      resized.observe(box);
    }

    if (form) {
      form.addEventListener("change", redraw);
      form.addEventListener("reset", () => setTimeout(redraw));
      form.addEventListener("submit", (event) => event.preventDefault());
    }
    dark.addEventListener("change", redraw);

    // Paper is white and shows every chart that is not folded away.
    addEventListener("beforeprint", () => {
      document.documentElement.dataset.print = "";
      const state = selected(), colours = theme();
      for (const box of boxes) if (box.clientWidth) draw(box, state, colours);
    });
    addEventListener("afterprint", () => {
      delete document.documentElement.dataset.print;
      redraw();
    });

    // A link into a folded part unfolds it.
    function unfold() {
      const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
      for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
      if (target) target.scrollIntoView();
    }
    addEventListener("hashchange", unfold);
    unfold();
  }

  return { start };
})();
