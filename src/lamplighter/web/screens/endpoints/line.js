// An endpoint as a line of the table.
import { h } from "vue";
import { Lamp, Menu, money, phaseOf } from "lamplighter/assets/kit.js";
import { Progress, history, nextThing, price, priceSource } from "lamplighter/screens/endpoints/figures.js";
import { spentToday } from "lamplighter/screens/endpoints/order.js";

/** The columns: class, heading. */
export const HEADINGS = [
  ["name", "Name"],
  ["state", "Status"],
  ["model", "Model"],
  ["number flight", "In flight"],
  ["number waiting", "Waiting"],
  ["number price", "$ an hour"],
  ["number today", "Today"],
  ["number saved", "Saved"],
  ["doing", "Actions"],
];

export const Line = {
  props: ["row", "spending", "actions", "link", "facts"],
  setup(props) {
    return () => {
      const { row, actions, spending } = props;
      const phase = phaseOf(row);
      const first = actions.first(row);
      const busy = actions.pending.get(row.name);
      const own = props.facts.screens.find((screen) => screen.path === "/endpoint/{name}");
      const cell = (kind, content, title) => h("div", { class: ["cell", kind], role: "cell", title }, content);
      return h("div", { class: ["line", phase], role: "row" }, [
        h("div", { class: "cell name", role: "rowheader", title: row.name }, [h(Lamp, { phase }), own ? props.link(`/endpoint/${encodeURIComponent(row.name)}`, {}, row.name) : h("span", row.name)]),
        cell("state", [h("strong", { class: "phase" }, phase), h("span", { class: "next" }, row.status === "error" ? row.message : nextThing(row)), h(Progress, { row })], row.message ?? history(row)),
        cell("model", [row.model ?? row.engine, h("span", { class: "quiet" }, ` · ${row.provider}`)], `${row.model ?? row.engine} at ${row.provider}`),
        cell("number flight", String(row.in_flight)),
        cell("number waiting", String(row.waiting)),
        cell("number price", price(row), priceSource(row)),
        cell("number today", money(spentToday(spending)), spending ? `cold start ${money(spending[0])}, serving ${money(spending[1])}, idle ${money(spending[2])}` : undefined),
        cell("number saved", money(spending ? spending[3] : null)),
        h("div", { class: "cell doing", role: "cell" }, [
          first && h("button", { type: "button", class: "first", "aria-label": `${first.label} ${row.name}`, disabled: Boolean(busy), onClick: first.run }, busy ? "…" : first.label),
          h(Menu, { label: `More for ${row.name}`, items: () => actions.items(row) }),
        ]),
      ]);
    };
  },
};
