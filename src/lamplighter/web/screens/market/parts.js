// An offer as a card and as a line of the table.
import { h } from "vue";
import { Lamp, Menu, phaseOf } from "lamplighter/assets/kit.js";
import { board } from "lamplighter/assets/live.js";
import { coldStart, derived, disputes, dollars, firstToken, fit, from, hasCost, keyOf, kindOf, price, prices, region, speed, tags, tokens, toldBy, unitOf, yesNo } from "lamplighter/screens/market/figures.js";

const NOT_TOLD = "not told";
const QUIET = new Set(["", "live", "available"]);

/** What somebody told, or that nobody did. */
const told = (value) => value ?? h("span", { class: "quiet" }, NOT_TOLD);

/** A figure with the word whether it was measured or quoted. */
const marked = (pair) => (pair ? [pair[0], h("small", { class: pair[1], title: pair[2] }, ` ${pair[1]}`)] : told(null));

/** Whether there is nothing to say of how an offer is. */
const isQuiet = (offer) => QUIET.has(offer.status) && !(offer.endpoint && board.rows.has(offer.endpoint));

/** Whether its price by the hour may differ from what is paid, as the board's row says. */
const isEstimate = (offer) => Boolean(offer.kind === "hardware" && offer.endpoint && (board.number, board.rows.get(offer.endpoint)?.price_estimate));

/** How an offer is: an endpoint of ours with its lamp, anybody else's in a word where something is wrong. */
export const Status = (props) => {
  const row = props.offer.endpoint && (board.number, board.rows.get(props.offer.endpoint));
  if (row) return h("span", { class: ["status", phaseOf(row)] }, [h(Lamp, { phase: phaseOf(row) }), phaseOf(row)]);
  return QUIET.has(props.offer.status) ? null : h("span", { class: "status bad" }, props.offer.status);
};
Status.props = ["offer"];

const Tags = (props) => tags(props.offer).map((tag) => h("span", { class: "tag", key: tag }, tag));
Tags.props = ["offer"];

/** The price of an offer in its own unit, large, and what use of it came to. */
const Price = (props) => {
  const { offer } = props;
  const all = prices(offer);
  return h("div", { class: "price" }, [
    all.length ? all.map(([amount, label, title]) => h("span", { class: "amount", title }, [h("strong", isEstimate(offer) ? `≈ ${amount}` : amount), ` ${label}`])) : h("span", { class: "quiet" }, "no price is known"),
    isEstimate(offer) ? h("span", { class: "quiet" }, "an estimate") : null,
    offer.quotes.some((quote) => quote.unit.startsWith("million")) ? h("span", { class: "quiet" }, "per million tokens") : null,
    derived(offer) && h("span", { class: "amount", title: offer.price_basis }, [h("strong", `≈ ${derived(offer)}`), " a million tokens out, by what was measured"]),
  ]);
};
Price.props = ["offer"];

const Told = (props) => {
  const one = toldBy(props.offer);
  return one && h("span", { class: "told", title: one.title }, one.text);
};
Told.props = ["offer"];

const Disputed = (props) => {
  const others = disputes(props.offer);
  return others.length ? h("p", { class: "disputed" }, `Sources disagree: ${others.join("; ")}.`) : null;
};
Disputed.props = ["offer"];

/** The figures of an offer that a card and a comparison both show: term, and what is said of it. */
export const FIGURES = [
  ["tokens", (offer) => marked(speed(offer))],
  ["first token", (offer) => marked(firstToken(offer))],
  ["context", (offer) => told(tokens(offer.context))],
  ["tools", (offer) => told(yesNo(offer.tools))],
  ["cold start", (offer) => told(coldStart(offer) && `≈ ${coldStart(offer)}`)],
  ["region", (offer) => [told(region(offer)), " ", h(Tags, { offer })]],
];

/** Everything of an offer in which two of them can differ. */
export const ROWS = [
  ["Model", (offer) => offer.model],
  ["From", (offer) => `${from(offer)} (${kindOf(offer)})`],
  ["Status", (offer) => (offer.endpoint && board.rows.has(offer.endpoint) ? h(Status, { offer }) : told(offer.status || null))],
  ["Task", (offer) => told(offer.task)],
  ["Price", (offer) => h(Price, { offer })],
  ["Priced by", (offer) => (toldBy(offer) ? [h(Told, { offer }), h(Disputed, { offer })] : told(null))],
  ["Use has cost", (offer) => hasCost(offer) ?? h("span", { class: "quiet" }, offer.cost_basis)],
  ["Tokens a second", FIGURES[0][1]],
  ["First token", FIGURES[1][1]],
  ["Cold start", FIGURES[4][1]],
  ["Context", FIGURES[2][1]],
  ["Tools", FIGURES[3][1]],
  ["JSON schema", (offer) => told(yesNo(offer.structured_output))],
  ["Region", FIGURES[5][1]],
  ["Hardware", (offer) => told(offer.hardware)],
  ["Fit", (offer) => (offer.fit ? [fit(offer), h("br"), h("small", { class: "quiet" }, offer.fit.formula)] : told(null))],
];

const Doing = (props) => {
  const { offer, actions } = props;
  const picked = actions.isPicked(offer);
  const name = `${offer.model} from ${from(offer)}`;
  return [
    h(
      "button",
      { type: "button", class: "pick", "aria-pressed": String(picked), "aria-label": `Compare ${name}`, disabled: !picked && actions.isFull(), title: !picked && actions.isFull() ? "Four are the most that can stand side by side." : undefined, onClick: () => actions.pick(offer) },
      picked ? "✓ compared" : "Compare",
    ),
    h(Menu, { label: `More for ${name}`, items: () => actions.items(offer) }),
  ];
};
Doing.props = ["offer", "actions"];

/** The model's name, which leads to all that it can be had for. */
const Model = (props) =>
  h("a", { href: props.actions.modelPath(props.offer), title: props.offer.model, onClick: (event) => props.actions.openModel(event, props.offer) }, props.offer.model);
Model.props = ["offer", "actions"];

export const OfferCard = (props) => {
  const { offer, actions } = props;
  return h("article", { class: ["offer", { picked: actions.isPicked(offer) }], "aria-label": `${offer.model} from ${from(offer)}` }, [
    h("header", [h("h3", [h(Model, { offer, actions })]), h(Status, { offer })]),
    h("p", { class: "who" }, [h("strong", from(offer)), h("span", { class: "quiet" }, ` · ${kindOf(offer)}${offer.task ? ` · ${offer.task}` : ""}`)]),
    h(Price, { offer }),
    hasCost(offer) && h("p", { class: "cost", title: offer.cost_basis }, ["use has cost ", h("strong", hasCost(offer))]),
    h("dl", FIGURES.map(([term, what]) => h("div", [h("dt", term), h("dd", what(offer))]))),
    offer.hardware && h("p", { class: "fit", title: offer.fit?.formula }, [offer.hardware, offer.fit ? h("span", { class: "quiet" }, ` · ${fit(offer)}`) : null]),
    h(Disputed, { offer }),
    h("footer", [h("p", { class: "told" }, toldBy(offer) ? ["priced by ", h(Told, { offer })] : null), h("div", { class: "doing" }, [h(Doing, { offer, actions })])]),
  ]);
};
OfferCard.props = ["offer", "actions"];

const NO = () => h("span", { class: "quiet" }, "–");

/** What there is to say of a price by use: per million tokens, or per whatever else. */
function byUse(offer) {
  const out = price(offer, "million_tokens_out");
  if (out) return out;
  if (derived(offer)) return [`≈ ${derived(offer)}`, h("small", { class: "measured" }, " by what was measured")];
  if (offer.is_free) return "free";
  const other = offer.quotes.find((quote) => !quote.unit.startsWith("million") && quote.unit !== "replica_hour");
  return other ? `${dollars(other.amount)} ${unitOf(other)}` : null;
}

function pricedBy(offer) {
  const by = toldBy(offer);
  const others = disputes(offer);
  return by && [h("span", { title: by.title }, by.text), others.length ? h("small", { class: "disputed" }, ` ${others.join("; ")}`) : null];
}

/** The columns: heading, what stands in it (null: not told), its kind, and a title. A column that says nothing is left out. */
const COLUMNS = [
  ["From", from],
  ["$ in", (offer) => price(offer, "million_tokens_in"), "number", "$ per million tokens in"],
  ["$ out", byUse, "number", "$ per million tokens out, where nothing else is said"],
  ["$ an hour", (offer) => price(offer, "replica_hour") && `${isEstimate(offer) ? "≈ " : ""}${price(offer, "replica_hour")}`, "number"],
  ["Use has cost", hasCost, "number"],
  ["Tokens/s", (offer) => speed(offer) && marked(speed(offer)), "number"],
  ["First token", (offer) => firstToken(offer) && marked(firstToken(offer)), "number"],
  ["Cold start", (offer) => coldStart(offer) && `≈ ${coldStart(offer)}`, "number"],
  ["Context", (offer) => tokens(offer.context), "number"],
  ["Tools", (offer) => yesNo(offer.tools)],
  ["Region", (offer) => region(offer) && [region(offer), " ", h(Tags, { offer })]],
  ["On", (offer) => offer.hardware && [offer.hardware, offer.fit ? h("small", { class: "quiet", title: offer.fit.formula }, ` ${fit(offer)}`) : null]],
  ["Status", (offer) => (isQuiet(offer) ? null : h(Status, { offer }))],
  ["Task", (offer) => offer.task],
  ["Priced by", pricedBy],
];

export const OfferTable = (props) => {
  const { offers, actions } = props;
  const columns = COLUMNS.filter(([, what]) => offers.some((offer) => what(offer) !== null));
  const line = (offer) =>
    h("tr", { key: keyOf(offer), class: { picked: actions.isPicked(offer) } }, [
      h("th", { scope: "row" }, [h(Model, { offer, actions })]),
      columns.map(([label, what, kind]) => h("td", { key: label, class: kind }, what(offer) ?? NO())),
      h("td", { class: "doing" }, [h("div", [h(Doing, { offer, actions })])]),
    ]);
  return h("div", { class: "sheet", role: "region", "aria-label": "Offers", tabindex: "0" }, [
    h("table", [
      h("thead", h("tr", [h("th", { scope: "col" }, "Model"), columns.map(([label, , kind, title]) => h("th", { key: label, scope: "col", class: kind, title }, label)), h("th", { scope: "col", class: "doing" }, "Actions")])),
      h("tbody", offers.map(line)),
    ]),
  ]);
};
OfferTable.props = ["offers", "actions"];
