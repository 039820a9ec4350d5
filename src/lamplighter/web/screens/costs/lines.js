// Costs by endpoint, key, tag, provider or route: a line each, and all of them in one.
import { h, ref } from "vue";
import { count, money } from "lamplighter/assets/kit.js";
import { KINDS } from "lamplighter/screens/costs/chart.js";

const MANY = 25; // so many are shown at first

const NONE = { key: "nobody", tag: "untagged", route: "none" };

/** What a line is of, in words. */
export const titleOf = (by, group) => (by === "key" && group.key_name) || group[by] || NONE[by] || "";

const number = (text) => (text === null ? null : Number(text));

/** The columns: heading, what stands in it, and whether there is anything to show. */
const COLUMNS = [
  ["total", (line) => money(number(line.total))],
  ["saved", (line) => money(number(line.saved)), (total, lines) => lines.some((line) => line.saved !== null)],
  ["cold start", (line) => money(number(line.cold_start))],
  ["serving", (line) => money(number(line.serving))],
  ["idle", (line) => money(number(line.idle))],
  ["by use", (line) => money(number(line.by_use)), (total) => Number(total.by_use) > 0],
  ["requests", (line) => count(line.requests)],
  ["per request", (line) => money(number(line.per_request)), (total) => total.per_request !== null],
  ["per 1M tokens", (line) => money(number(line.per_million_tokens)), (total) => total.per_million_tokens !== null],
];

const Split = (props) => {
  const total = Number(props.line.total);
  return h(
    "span",
    { class: "split", "aria-hidden": "true", style: { width: props.most ? `${Math.max(1, (total / props.most) * 100)}%` : "0" } },
    KINDS.map(([kind]) => h("span", { class: kind, style: { flexGrow: total ? Number(props.line[kind]) / total : 0 } })),
  );
};
Split.props = ["line", "most"];

export const Lines = {
  props: ["report", "by"],
  emits: ["only"],
  setup(props, { emit }) {
    const all = ref(false);
    return () => {
      const { lines, total } = props.report;
      const columns = COLUMNS.filter(([, , has]) => !has || has(total, lines));
      const most = Math.max(...lines.map((line) => Number(line.total)), 0);
      const shown = all.value ? lines : lines.slice(0, MANY);
      const named = props.by === "endpoint" || props.by === "key";
      const cells = (line) => columns.map(([label, what]) => h("td", { class: ["number", label === "total" && "strong"] }, what(line)));
      const row = (line) => {
        const title = titleOf(props.by, line.group);
        const value = line.group[props.by] || NONE[props.by] || "";
        return h("tr", { key: JSON.stringify(line.group) }, [
          h("th", { scope: "row" }, [
            named ? h("button", { type: "button", class: "plain name", "aria-label": `Only ${title}`, title: `Only ${title}`, onClick: () => emit("only", value) }, title) : h("span", { class: "name", title }, title),
            h(Split, { line, most }),
          ]),
          ...cells(line),
        ]);
      };
      return h("section", { class: "part lines", "aria-labelledby": "lines" }, [
        h("header", [h("h2", { id: "lines" }, `By ${props.by}`), named && h("span", { class: "quiet" }, `Choose a name to see that ${props.by} alone.`)]),
        h("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": `Costs by ${props.by}` }, [
          h("table", [
            h("caption", { class: "hidden" }, `Costs by ${props.by}`),
            h("thead", h("tr", [h("th", { scope: "col" }, props.by), ...columns.map(([label]) => h("th", { scope: "col", class: "number" }, label))])),
            h("tbody", shown.map(row)),
            h("tfoot", h("tr", [h("th", { scope: "row" }, "in all"), ...cells(total)])),
          ]),
        ]),
        shown.length < lines.length && h("button", { type: "button", onClick: () => (all.value = true) }, `Show all ${count(lines.length)}`),
      ]);
    };
  },
};
