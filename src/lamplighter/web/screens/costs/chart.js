// Costs by day, as stacked bars; the same as a table, which is what a screen reader reads.
import { h } from "vue";
import { money } from "lamplighter/assets/kit.js";
import { between, dayOf, later, shortDay, steps } from "lamplighter/screens/costs/asking.js";

/** What an amount consists of: the member of a line, its word. */
export const KINDS = [
  ["cold_start", "cold start"],
  ["serving", "serving"],
  ["idle", "idle"],
  ["by_use", "by use"],
];

const HEIGHT = 150;
const GAP = 0.16; // of a bar's place

/** Bars from the first day to the last, those without costs among them. */
export function barsOf(report) {
  const lines = new Map(report.lines.map((line) => [line.group.day, line]));
  const known = [...lines.keys()].sort();
  const today = dayOf(report.at, report.time_zone);
  const end = report.until ? later(report.until, -1) : today;
  const first = report.since ?? known[0] ?? today;
  const last = [end < today ? end : today, known.at(-1) ?? first].sort().at(-1);
  const length = Math.max(0, between(first, last)) + 1;
  const step = steps(length);
  const bars = new Map();
  for (let index = 0, day = first; index < length; index += 1, day = later(day, 1)) {
    const key = step.first(day);
    if (!bars.has(key)) bars.set(key, { day: key, name: step.name(key), parts: [0, 0, 0, 0], total: 0, saved: 0 });
    const line = lines.get(day);
    if (!line) continue;
    const bar = bars.get(key);
    KINDS.forEach(([kind], at) => (bar.parts[at] += Number(line[kind])));
    bar.total += Number(line.total);
    bar.saved = line.saved === null || bar.saved === null ? null : bar.saved + Number(line.saved);
  }
  return { each: step.each, bars: [...bars.values()] };
}

/** A round amount at or above the largest bar. */
function ceiling(amount) {
  if (!amount) return 1;
  const power = 10 ** Math.floor(Math.log10(amount));
  return [1, 2, 2.5, 5, 10].find((factor) => factor * power >= amount * 0.999) * power;
}

function drawnBar(bar, at, many, top) {
  let y = HEIGHT;
  const rects = KINDS.map(([kind], index) => {
    const tall = (bar.parts[index] / top) * HEIGHT;
    y -= tall;
    return tall > 0 ? h("rect", { class: kind, x: `${((at + GAP / 2) / many) * 100}%`, width: `${((1 - GAP) / many) * 100}%`, y, height: tall }) : null;
  });
  const split = KINDS.map(([, label], index) => (bar.parts[index] ? `${label} ${money(bar.parts[index])}` : null)).filter(Boolean);
  return h("g", { class: "bar" }, [
    h("rect", { class: "place", x: `${(at / many) * 100}%`, width: `${100 / many}%`, y: 0, height: HEIGHT }),
    ...rects,
    h("title", `${bar.name}: ${money(bar.total)}${split.length ? `\n${split.join("\n")}` : ""}`),
  ]);
}

const Bars = (props) => {
  const { bars } = props;
  const top = ceiling(Math.max(...bars.map((bar) => bar.total), 0));
  const some = [0, Math.floor((bars.length - 1) / 2), bars.length - 1].filter((one, at, all) => all.indexOf(one) === at);
  return h("div", { class: "bars", "aria-hidden": "true" }, [
    h("div", { class: "scale" }, [h("span", money(top)), h("span", money(top / 2)), h("span", "$0")]),
    h("svg", { class: "plot", width: "100%", height: HEIGHT, focusable: "false" }, [
      ...[0.5, HEIGHT / 2, HEIGHT - 0.5].map((y) => h("line", { x1: "0", x2: "100%", y1: y, y2: y })),
      ...bars.map((bar, at) => drawnBar(bar, at, bars.length, top)),
    ]),
    h("div", { class: "days" }, some.map((at) => h("span", shortDay(bars[at].day)))),
  ]);
};
Bars.props = ["bars"];

const Figures = (props) => {
  const kinds = KINDS.map((kind, at) => [...kind, at]).filter(([kind, , at]) => kind !== "by_use" || props.bars.some((bar) => bar.parts[at]));
  return h("div", { class: props.shown ? "scroller" : "hidden", tabindex: props.shown ? 0 : undefined, role: "region", "aria-label": `Costs by ${props.each}` }, [
    h("table", [
      h("caption", { class: "hidden" }, `Costs by ${props.each}`),
      h("thead", h("tr", [h("th", { scope: "col" }, props.each), ...["total", "saved", ...kinds.map(([, label]) => label)].map((label) => h("th", { scope: "col", class: "number" }, label))])),
      h(
        "tbody",
        props.bars.map((bar) =>
          h("tr", { key: bar.day }, [
            h("th", { scope: "row" }, bar.name),
            h("td", { class: "number strong" }, money(bar.total)),
            h("td", { class: "number" }, money(bar.saved)),
            ...kinds.map(([, , at]) => h("td", { class: "number" }, money(bar.parts[at]))),
          ]),
        ),
      ),
    ]),
  ]);
};
Figures.props = ["bars", "each", "shown"];

/** The section: bars or figures, and what the colours mean. */
export const ByDay = (props, { emit }) => {
  const { bars, each } = barsOf(props.report);
  const asked = props.table;
  const used = KINDS.filter(([kind]) => kind !== "by_use" || Number(props.report.total.by_use) > 0);
  return h("section", { class: "part by-day", "aria-labelledby": "by-day" }, [
    h("header", [
      h("h2", { id: "by-day" }, `By ${each}`),
      h("ul", { class: "legend" }, used.map(([kind, label]) => h("li", [h("span", { class: ["swatch", kind], "aria-hidden": "true" }), `${label} ${money(Number(props.report.total[kind]))}`]))),
      h("div", { class: "switch", role: "group", "aria-label": "Show days as" }, [
        h("button", { type: "button", "aria-pressed": String(!asked), onClick: () => emit("pick", "") }, "Bars"),
        h("button", { type: "button", "aria-pressed": String(asked), onClick: () => emit("pick", "table") }, "Table"),
      ]),
    ]),
    asked ? null : h(Bars, { bars }),
    h(Figures, { bars, each, shown: asked }),
  ]);
};
ByDay.props = ["report", "table"];
ByDay.emits = ["pick"];
