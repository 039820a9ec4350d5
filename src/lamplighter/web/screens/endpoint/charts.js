// Requests, how long they took, and tokens, step by step: drawn, and as a table.
import { h } from "vue";
import { count, moment } from "lamplighter/assets/kit.js";
import { LEFT, anchor, countScale, durationScale, shortMoment, tick, timeMarks, took, useWidth } from "lamplighter/screens/endpoint/axis.js";

const TALL = 96;
const FOOT = 16;
const QUANTILES = ["p50", "p90", "p99"];

const rate = (value) => (value === null ? "–" : value >= 100 ? count(Math.round(value)) : value.toFixed(1));

const told = (one) =>
  `${moment(one.at)}\n${count(one.requests)} requests${one.failed ? `, ${count(one.failed)} failed` : ""}\np50 ${took(one.p50)}, p90 ${took(one.p90)}, p99 ${took(one.p99)}` +
  (one.tokens_out ? `\n${count(one.tokens_out)} tokens written, ${rate(one.tokens_per_second)} tokens/s` : "");

/** Runs of steps that follow each other: a line is broken where no request ended. */
function runs(steps, step, has) {
  const found = [];
  let last = null;
  for (const one of steps) {
    if (!has(one)) continue;
    if (last !== null && one.at - last < step * 1.5) found.at(-1).push(one);
    else found.push([one]);
    last = one.at;
  }
  return found;
}

/** A frame with marks of time below and a scale at the left; `marks` are `[part of the height, word]`. */
function frame({ width, since, until, label, marks }, inner) {
  const x = (at) => LEFT + ((at - since) / (until - since)) * (width - LEFT);
  const y = (part) => 6 + (1 - part) * (TALL - 6);
  return h("svg", { role: "img", "aria-label": label, width, height: TALL + FOOT, viewBox: `0 0 ${width} ${TALL + FOOT}` }, [
    ...marks.map(([part, text]) =>
      h("g", { class: "mark", key: text }, [h("line", { x1: LEFT, x2: width, y1: y(part), y2: y(part) }), h("text", { x: LEFT - 6, y: y(part) + 4, "text-anchor": "end" }, text)]),
    ),
    ...timeMarks(since, until, width - LEFT).map((mark) =>
      h("text", { class: "when", key: mark.at, x: Math.min(x(mark.at), width - 2), y: TALL + 13, "text-anchor": anchor(x(mark.at), width) }, mark.label),
    ),
    ...inner(x, y),
  ]);
}

/** What lies under the pointer: a column for each step, with its figures as its title. */
const columns = (found, x) =>
  found.steps.map((one) => h("rect", { class: "hover", key: one.at, x: x(one.at), y: 0, width: Math.max(2, x(one.at + found.step) - x(one.at)), height: TALL }, h("title", told(one))));

const line = (kind, steps, x, y, step) =>
  runs(steps, step, (one) => y(one) !== null).map((run) => {
    const points = run.map((one) => `${x(one.at + step / 2).toFixed(1)},${y(one).toFixed(1)}`);
    if (run.length > 1) return h("polyline", { class: ["series", kind], points: points.join(" ") });
    const [cx, cy] = points[0].split(",");
    return h("circle", { class: ["series", kind], cx, cy, r: 2 });
  });

function requestsChart(found, width) {
  const scale = countScale(Math.max(...found.steps.map((one) => one.requests)));
  const label = `Requests: ${count(found.total.requests)}, of which ${count(found.total.failed)} failed.`;
  const place = { width, since: found.since, until: found.until, label, marks: [[0, "0"], [1, count(scale.high)]] };
  return frame(place, (x, y) => [
    ...found.steps.flatMap((one) => {
      const wide = Math.max(1.5, x(one.at + found.step) - x(one.at) - 1);
      const bad = scale.part(one.failed);
      const all = scale.part(one.requests);
      return [
        h("rect", { class: "bar", x: x(one.at), width: wide, y: y(all), height: Math.max(0, y(bad) - y(all)) }),
        one.failed ? h("rect", { class: "bar failed", x: x(one.at), width: wide, y: Math.min(y(bad), y(0) - 2), height: Math.max(2, y(0) - y(bad)) }) : null,
      ];
    }),
    ...columns(found, x),
  ]);
}

function latencyChart(found, width) {
  const all = found.steps.filter((one) => one.p50 !== null);
  const scale = durationScale(Math.min(...all.map((one) => one.p50)), Math.max(...all.map((one) => one.p99)));
  const { p50, p90, p99 } = found.total;
  const label = `Latency over all: half below ${took(p50)}, nine in ten below ${took(p90)}, 99 of 100 below ${took(p99)}.`;
  const place = { width, since: found.since, until: found.until, label, marks: scale.marks.map((one) => [scale.part(one), tick(one)]) };
  return frame(place, (x, y) => [
    ...QUANTILES.flatMap((name) => line(name, found.steps, x, (one) => (one[name] === null ? null : y(scale.part(one[name]))), found.step)),
    ...columns(found, x),
  ]);
}

function tokensChart(found, width) {
  const scale = countScale(Math.max(...found.steps.map((one) => one.tokens_per_second ?? 0)));
  const label = `Tokens per second of an answer: ${rate(found.total.tokens_per_second)} over all.`;
  const place = { width, since: found.since, until: found.until, label, marks: [[0, "0"], [1, count(scale.high)]] };
  return frame(place, (x, y) => [
    ...line("p50", found.steps, x, (one) => (one.tokens_per_second === null ? null : y(scale.part(one.tokens_per_second))), found.step),
    ...columns(found, x),
  ]);
}

const HEADS = ["From", "Requests", "Failed", "p50", "p90", "p99", "Held", "Tokens in", "Tokens out", "Tokens/s"];

const table = (found) =>
  h("details", { class: "figures" }, [
    h("summary", "Requests as a table"),
    h("div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": "Requests as a table" }, [
      h("table", [
        h("thead", h("tr", HEADS.map((one) => h("th", { scope: "col" }, one)))),
        h(
          "tbody",
          [...found.steps].reverse().map((one) =>
            h("tr", { key: one.at }, [
              h("th", { scope: "row" }, shortMoment(one.at)),
              ...[count(one.requests), count(one.failed), took(one.p50), took(one.p90), took(one.p99), one.waited ? took(one.waited) : "–", count(one.tokens_in), count(one.tokens_out), rate(one.tokens_per_second)].map((text) => h("td", text)),
            ]),
          ),
        ),
      ]),
    ]),
  ]);

const figure = (value, label, title) => h("div", { class: "figure", title }, [h("strong", value), h("span", label)]);

export const Requests = {
  props: ["found"],
  setup(props) {
    const { box, width } = useWidth();
    const charts = (found) => [
      h("figure", [h("figcaption", ["requests", found.total.failed ? h("span", { class: "failed" }, "failed") : null]), requestsChart(found, width.value)]),
      h("figure", [
        h("figcaption", ["latency, with the wait for a wake", ...QUANTILES.map((name) => h("span", { class: name }, name))]),
        latencyChart(found, width.value),
      ]),
      found.total.tokens_per_second !== null ? h("figure", [h("figcaption", "tokens/s of an answer"), tokensChart(found, width.value)]) : null,
    ];
    return () => {
      const { found } = props;
      const { total } = found;
      const near = "A quantile is off by 5 % at most; several like requests in one second count with their mean.";
      return h("div", { class: "requests" }, [
        h("div", { class: "summary" }, [
          figure(count(total.requests), "requests"),
          total.failed ? h("div", { class: "figure bad" }, [h("strong", count(total.failed)), h("span", "failed")]) : figure("0", "failed"),
          ...(total.requests ? QUANTILES.map((name) => figure(`≈ ${took(total[name])}`, name, near)) : []),
          total.tokens_out ? figure(count(total.tokens_out), "tokens written") : null,
          total.tokens_per_second !== null ? figure(rate(total.tokens_per_second), "tokens/s", "What one answer writes in a second, without the wait for a wake.") : null,
        ]),
        h("div", { ref: box, class: "plots" }, found.steps.length ? charts(found) : h("p", { class: "quiet" }, "No request ended in this time.")),
        found.steps.length ? table(found) : null,
      ]);
    };
  },
};
