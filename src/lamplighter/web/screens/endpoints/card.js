// An endpoint as a card. It is drawn anew only when its row, its spending or its clock moves.
import { h } from "vue";
import { Lamp, Menu, money, phaseOf } from "lamplighter/assets/kit.js";
import { Progress, history, nextThing, price, priceSource } from "lamplighter/screens/endpoints/figures.js";
import { spentToday } from "lamplighter/screens/endpoints/order.js";

const PARTS = [
  ["cold", "cold start"],
  ["serving", "serving"],
  ["idle", "idle"],
];

const Spent = (props) => {
  const parts = props.spending ?? [0, 0, 0, null];
  const total = spentToday(props.spending);
  return h("div", { class: "spent" }, [
    h("div", { class: "bar", "aria-hidden": "true" }, total ? PARTS.map(([kind], at) => h("span", { class: kind, style: { flexGrow: parts[at] / total } })) : null),
    h("dl", [
      h("div", { class: "sum" }, [h("dt", "today"), h("dd", money(total))]),
      ...PARTS.map(([kind, label], at) => h("div", { class: kind }, [h("dt", label), h("dd", money(parts[at]))])),
      h("div", { class: "saved" }, [h("dt", "saved"), h("dd", money(parts[3]))]),
    ]),
  ]);
};
Spent.props = ["spending"];

export const Card = {
  props: ["row", "spending", "actions", "link", "facts"],
  setup(props) {
    return () => {
      const { row, actions } = props;
      const phase = phaseOf(row);
      const first = actions.first(row);
      const busy = actions.pending.get(row.name);
      const own = props.facts.screens.find((screen) => screen.path === "/endpoint/{name}");
      const name = own ? props.link(`/endpoint/${encodeURIComponent(row.name)}`, {}, row.name) : row.name;
      return h("article", { class: ["card", phase], "aria-label": `${row.name}: ${phase}` }, [
        h("header", [
          h(Lamp, { phase }),
          h("h3", { title: row.name }, name),
          first && h("button", { type: "button", class: "first", "aria-label": `${first.label} ${row.name}`, disabled: Boolean(busy), onClick: first.run }, busy ? "…" : first.label),
          h(Menu, { label: `More for ${row.name}`, items: () => actions.items(row) }),
        ]),
        h("p", { class: "state", title: history(row) }, [h("strong", { class: "phase" }, phase), h("span", nextThing(row))]),
        row.status === "starting" ? h(Progress, { row }) : null,
        row.message && row.status !== "starting" && !row.paused
          ? h("p", { class: row.status === "error" ? "message problem" : "message", title: row.message }, row.message)
          : h("p", { class: "model", title: `${row.model ?? row.engine} at ${row.provider}` }, [row.model ?? row.engine, h("span", { class: "quiet" }, ` · ${row.provider}`)]),
        h("dl", { class: "now" }, [
          h("div", [h("dt", "in flight"), h("dd", String(row.in_flight))]),
          h("div", { class: row.waiting ? "some" : "" }, [h("dt", "waiting"), h("dd", String(row.waiting))]),
          h("div", { class: "price", title: priceSource(row) }, [h("dt", row.billed ? "an hour" : "an hour awake"), h("dd", price(row))]),
        ]),
        h(Spent, { spending: props.spending }),
      ]);
    };
  },
};
