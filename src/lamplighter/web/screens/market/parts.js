// An offer as a card and as a line of the table.
import { h } from "vue";
import { Lamp, Menu, phaseOf } from "lamplighter/assets/kit.js";
import { board } from "lamplighter/assets/live.js";
import { coldStart, derived, disputes, firstToken, fit, from, hasCost, kindOf, price, prices, region, speed, tags, tokens, toldBy, yesNo } from "lamplighter/screens/market/figures.js";

const NOT_TOLD = "not told";
const QUIET = new Set(["", "live", "available"]);

/** What somebody told, or that nobody did. */
const told = (value) => value ?? h("span", { class: "quiet" }, NOT_TOLD);

/** A figure with the word whether it was measured or quoted. */
const marked = (pair) => (pair ? [pair[0], h("small", { class: pair[1], title: pair[2] }, ` ${pair[1]}`)] : told(null));

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
    all.length ? all.map(([amount, label, title]) => h("span", { class: "amount", title }, [h("strong", amount), ` ${label}`])) : h("span", { class: "quiet" }, "no price is known"),
    offer.quotes.some((quote) => quote.unit.startsWith("million")) ? h("span", { class: "quiet" }, "per million tokens") : null,
    derived(offer) && h("span", { class: "amount", title: offer.price_basis }, [h("strong", `≈ ${derived(offer)}`), " a million tokens out, by what was measured"]),
  ]);
};
Price.props = ["offer"];

const Told = (props) => {
  const one = toldBy(props.offer);
  const others = disputes(props.offer);
  return h("p", { class: "told" }, [
    one && h("span", { title: one.title }, `priced by ${one.text}`),
    others.length ? h("span", { class: "disputed" }, ` Sources disagree: ${others.join("; ")}.`) : null,
  ]);
};
Told.props = ["offer"];

/** The figures of an offer that a card and a comparison both show: term, and what is said of it. */
export const FIGURES = [
  ["tokens", (offer) => marked(speed(offer))],
  ["first token", (offer) => marked(firstToken(offer))],
  ["context", (offer) => told(tokens(offer.context))],
  ["tools", (offer) => told(yesNo(offer.tools))],
  ["cold start", (offer) => (offer.kind === "serverless" ? "none" : told(coldStart(offer) && `≈ ${coldStart(offer)}`))],
  ["region", (offer) => [told(region(offer)), " ", h(Tags, { offer })]],
];

/** Everything of an offer in which two of them can differ. */
export const ROWS = [
  ["Model", (offer) => offer.model],
  ["From", (offer) => `${from(offer)} (${kindOf(offer)})`],
  ["Status", (offer) => (offer.endpoint && board.rows.has(offer.endpoint) ? h(Status, { offer }) : told(offer.status || null))],
  ["Task", (offer) => told(offer.task)],
  ["Price", (offer) => h(Price, { offer })],
  ["Priced by", (offer) => h(Told, { offer })],
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
    h("footer", [h(Told, { offer }), h("div", { class: "doing" }, [h(Doing, { offer, actions })])]),
  ]);
};
OfferCard.props = ["offer", "actions"];

const cell = (kind, content, title) => h("td", { class: kind, title }, content ?? h("span", { class: "quiet" }, "–"));

export const COLUMNS = [
  ["Model"],
  ["From"],
  ["Status"],
  ["$ in", "number", "$ per million tokens in"],
  ["$ out", "number", "$ per million tokens out"],
  ["$ an hour", "number"],
  ["Use has cost", "number"],
  ["Tokens/s", "number"],
  ["First token", "number"],
  ["Start", "number"],
  ["Context", "number"],
  ["Tools"],
  ["Region"],
  ["On"],
  ["Priced by"],
  ["Actions"],
];

export const OfferLine = (props) => {
  const { offer, actions } = props;
  const others = disputes(offer);
  const per = derived(offer);
  const by = toldBy(offer);
  const rest = offer.quotes.find((quote) => !quote.unit.startsWith("million") && quote.unit !== "replica_hour");
  return h("tr", { class: { picked: actions.isPicked(offer) } }, [
    h("th", { scope: "row" }, [h(Model, { offer, actions })]),
    cell("", from(offer), kindOf(offer)),
    cell("", h(Status, { offer })),
    cell("number", price(offer, "million_tokens_in")),
    cell("number", price(offer, "million_tokens_out") ?? (per ? [`≈ ${per}`, h("small", " measured")] : offer.is_free ? "free" : rest ? `${price(offer, rest.unit)} ${rest.unit.replaceAll("_", " ")}` : null), offer.price_basis),
    cell("number", price(offer, "replica_hour")),
    cell("number", hasCost(offer), offer.cost_basis),
    cell("number", speed(offer) && marked(speed(offer))),
    cell("number", firstToken(offer) && marked(firstToken(offer))),
    cell("number", coldStart(offer) && `≈ ${coldStart(offer)}`),
    cell("number", tokens(offer.context)),
    cell("", yesNo(offer.tools)),
    cell("", region(offer) && [region(offer), " ", h(Tags, { offer })]),
    cell("", offer.hardware && [offer.hardware, offer.fit ? h("small", { class: "quiet" }, ` ${fit(offer)}`) : null], offer.fit?.formula),
    cell("", by && [by.text, others.length ? h("small", { class: "disputed" }, ` ${others.join("; ")}`) : null], by?.title),
    h("td", { class: "doing" }, [h(Doing, { offer, actions })]),
  ]);
};
OfferLine.props = ["offer", "actions"];
