// Rent or wake: what one's own requests have cost, and what they would have cost on each other offer.
import { h, onMounted, ref, shallowRef, watch } from "vue";
import { Choice, askJson, count, duration, money, moment } from "lamplighter/assets/kit.js";
import { dollars, unitOf } from "lamplighter/screens/market/figures.js";

const SPANS = [["86400", "a day"], ["604800", "7 days"], ["2592000", "30 days"], ["31536000", "a year"]];

const sum = (text) => (text === null ? "–" : money(Number(text)));
const said = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const quoted = (row) =>
  row.quotes.length ? row.quotes.map((quote) => `${dollars(quote.amount)} ${unitOf(quote)} (${quote.source}, ${quote.age < 10 ? "just now" : `${duration(quote.age)} ago`})`).join(", ") : "–";

const isUnsuited = (row) => row.offer?.fit?.fits === false;

export const Explanation = {
  props: ["name"],
  emits: ["close"],
  setup(props, { emit }) {
    const found = shallowRef(null);
    const problem = shallowRef(null);
    const since = ref("2592000");
    const all = ref(false); // also what the model does not fit on
    const load = async () => {
      problem.value = null;
      const asked = `${props.name} ${since.value}`;
      try {
        const told = await askJson("GET", `/api/offers/explain?${new URLSearchParams({ name: props.name, since: since.value })}`);
        if (asked === `${props.name} ${since.value}`) found.value = told;
      } catch (error) {
        found.value = null;
        problem.value = error;
      }
    };
    onMounted(load);
    watch(() => [props.name, since.value], load);

    const line = (row) =>
      h("tr", { key: row.name, class: { was: row.basis === "ledger" } }, [
        h("th", { scope: "row" }, row.name),
        h("td", { class: "number" }, sum(row.cost)),
        h("td", row.basis === "estimate" ? "an estimate" : row.basis),
        h("td", { class: "number" }, row.hours_awake === null ? "–" : duration(row.hours_awake * 3600)),
        h("td", quoted(row)),
        h("td", row.why || "–"),
      ]);

    const summary = ({ asked, paid, recommendation, break_even: even, no_break_even: none }) => [
      h("p", h("strong", said(recommendation))),
      asked.requests > 0 && h("p", { class: "quiet" }, `${count(asked.requests)} requests since ${moment(asked.since)}, ${count(asked.tokens_in)} tokens in and ${count(asked.tokens_out)} out, told by ${count(asked.told)} of them. Paid ${sum(paid.total)}: cold start ${sum(paid.cold_start)}, serving ${sum(paid.serving)}, idle ${sum(paid.idle)}, by use ${sum(paid.by_use)}.`),
      asked.requests > 0 && h(
        "p",
        { class: "quiet" },
        even === null ? none : even.requests_per_day === null ? even.why : `Break-even: ${count(Math.round(Number(even.requests_per_day)))} requests a day that come as these did. Below that ${even.rented} is cheaper, above it ${even.hardware}.`,
      ),
    ];

    const shown = () => found.value.compared.filter((row) => all.value || !isUnsuited(row));
    const hidden = () => found.value.compared.length - shown().length;

    return () =>
      h("section", { class: "explanation", "aria-label": `What ${props.name} would have cost` }, [
        h("header", [
          h("h2", `What your requests to ${props.name} would have cost`),
          h(Choice, { label: "Since", value: since.value, options: SPANS, onPick: (value) => (since.value = value) }),
          h("button", { type: "button", onClick: () => emit("close") }, "Close"),
        ]),
        problem.value && h("p", { class: "problem", role: "alert" }, [`${problem.value.message} `, h("button", { type: "button", onClick: load }, "Try again")]),
        !found.value && !problem.value && h("p", { class: "quiet", "aria-busy": "true" }, "Looking…"),
        found.value && summary(found.value),
        found.value?.compared.length
          ? h("div", { class: "sheet", role: "region", "aria-label": "Every way of having had the same requests answered", tabindex: "0" }, [
              h("table", [h("thead", h("tr", ["Offer", "Cost", "How", "Awake", "Price", "Note"].map((label, at) => h("th", { scope: "col", class: { number: at === 1 || at === 3 } }, label)))), h("tbody", shown().map(line))]),
            ])
          : null,
        found.value && hidden() ? h("p", h("button", { type: "button", onClick: () => (all.value = true) }, `Show what it does not fit on (${hidden()})`)) : null,
      ]);
  },
};
