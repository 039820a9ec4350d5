// Budgets: how far each is, when it renews, and what happens at its limit.
import { h, ref } from "vue";
import { count, duration, money, moment } from "lamplighter/assets/kit.js";
import { clock } from "lamplighter/assets/live.js";

const AT_LIMIT = {
  idle: "at the limit nothing is woken, and what is idle sleeps",
  drain: "at the limit nothing is let in; what is in flight ends, then it sleeps",
  cut: "at the limit it sleeps at once; what is in flight is cut",
};
const PERIOD = { day: "a day", week: "a week", month: "a month" };

const EXAMPLE = `budgets:
  monthly: {limit: 200, per: month}
  each: {limit: 10, per: day, endpoint: "*"}`;

/** How much is spent and set aside of the limit, in parts that fit the bar. */
function parts(budget) {
  const limit = Number(budget.limit);
  const spent = Math.min(1, limit ? Number(budget.spent) / limit : 1);
  return { spent, reserved: Math.min(1 - spent, limit ? Number(budget.reserved) / limit : 0) };
}

const percent = (part) => `${(part * 100).toFixed(2)}%`;

const One = (props) => {
  const one = props.budget;
  const { spent, reserved } = parts(one);
  const share = Math.floor(one.share * 100);
  const level = one.is_spent ? "spent" : one.level >= 80 ? "near" : "";
  const warnings = [
    one.missing && `There is no ${one.scope} of this name now: nothing counts under it.`,
    one.unpriced.length && `Not counted, as nobody knows the price: ${one.unpriced.join(", ")}.`,
  ].filter(Boolean);
  return h("li", { class: ["budget", level] }, [
    h("div", { class: "what" }, [h("h3", { title: one.name }, one.name), h("span", { class: "quiet", title: one.whose }, one.member === "*" ? `each ${one.scope}: none has spent any` : one.whose)]),
    h("p", { class: "amounts" }, [
      h("strong", `${share} %`),
      h("span", `${money(Number(one.spent))} of ${money(Number(one.limit))} ${PERIOD[one.period] ?? one.period}`),
      Number(one.reserved) > 0 ? h("span", { class: "quiet" }, `${money(Number(one.reserved))} set aside for wakes`) : null,
      h("span", { class: "quiet" }, one.is_spent ? "spent: nothing is woken before it renews" : `${money(Number(one.left))} left`),
    ]),
    h(
      "div",
      { class: "meter", role: "meter", "aria-label": `Budget ${one.name}, ${one.whose}: spent`, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.min(100, share), "aria-valuetext": `${share} percent: ${money(Number(one.spent))} of ${money(Number(one.limit))}` },
      [h("span", { class: "spent", style: { width: percent(spent) } }), h("span", { class: "reserved", style: { width: percent(reserved) } })],
    ),
    h("p", { class: "quiet" }, [h("span", { title: moment(one.renews_at) }, `renews in ${duration(Math.max(0, one.renews_at - clock.now))}`), ` · ${AT_LIMIT[one.at_limit] ?? one.at_limit}`]),
    ...warnings.map((text) => h("p", { class: "warning" }, text)),
  ]);
};
One.props = ["budget"];

const MANY = 12; // of more than these the fullest are shown at first

export const Budgets = {
  props: ["budgets"],
  setup(props) {
    const whole = ref(false);
    const fullest = () => [...props.budgets].sort((one, other) => other.share - one.share).slice(0, MANY);
    return () => {
      const all = props.budgets;
      const shown = whole.value || all.length <= MANY ? all : fullest();
      return h("section", { class: "part budgets", "aria-labelledby": "budgets" }, [
        h("header", [h("h2", { id: "budgets" }, "Budgets"), all.length > 0 && h("span", { class: "quiet" }, "Of the present day, week or month, whatever is filtered above.")]),
        all.length
          ? h("ul", shown.map((budget) => h(One, { key: `${budget.name} ${budget.member}`, budget })))
          : h("div", { class: "none" }, [h("p", "There is no budget: nothing bounds what is spent. Give one in the configuration, then send the server a SIGHUP:"), h("pre", { tabindex: 0 }, EXAMPLE)]),
        shown.length < all.length && h("button", { type: "button", onClick: () => (whole.value = true) }, `Show all ${count(all.length)}, not only the fullest`),
      ]);
    };
  },
};
