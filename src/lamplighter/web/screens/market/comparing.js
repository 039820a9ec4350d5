// Up to four offers side by side. Which ones stands in the address.
import { h, onMounted, watch } from "vue";
import { Menu } from "lamplighter/assets/kit.js";
import { from, parsed } from "lamplighter/screens/market/figures.js";
import { ROWS } from "lamplighter/screens/market/parts.js";

export const MOST = 4;

/** The keys that an address names. */
export const picked = (text) => [...new Set(text.split(",").map((key) => parsed(key)?.key).filter(Boolean))].slice(0, MOST);

const nameOf = (key) => {
  const one = parsed(key);
  return { model: one.model, from: one.endpoint || one.hardware || one.provider };
};

/** What is picked, at the foot of the window, until it is compared. */
export const Picked = (props) =>
  h("aside", { class: "picked-bar", "aria-label": "To compare" }, [
    h("ul", props.keys.map((key) => h("li", { key }, [h("span", [nameOf(key).model, h("small", { class: "quiet" }, ` ${nameOf(key).from}`)]), h("button", { type: "button", class: "icon", "aria-label": `Do not compare ${nameOf(key).model} from ${nameOf(key).from}`, onClick: () => props.drop(key) }, "×")]))),
    h("div", { class: "doing" }, [
      h("span", { class: "quiet" }, `${props.keys.length} of ${MOST}`),
      h("button", { type: "button", class: "primary", disabled: props.keys.length < 2, onClick: props.show }, "Side by side"),
      h("button", { type: "button", onClick: props.clear }, "Clear"),
    ]),
  ]);
Picked.props = ["keys", "drop", "show", "clear"];

/** The offers side by side: a row for everything in which they can differ, marked where they do. */
export const Comparison = {
  props: ["keys", "compared", "actions", "drop"],
  setup(props) {
    const look = () => props.keys.forEach(props.compared.find);
    onMounted(look);
    watch(() => props.keys.join(), look);

    const head = (key) => {
      const { model, from: who } = nameOf(key);
      const offer = props.compared.known.get(key);
      return h("th", { scope: "col", key }, [
        h("span", model),
        h("small", { class: "quiet" }, offer?.model ? from(offer) : who),
        h("div", { class: "doing" }, [
          h("button", { type: "button", "aria-label": `Do not compare ${model} from ${who}`, onClick: () => props.drop(key) }, "Remove"),
          offer?.model && h(Menu, { label: `More for ${model} from ${who}`, items: () => props.actions.items(offer) }),
        ]),
      ]);
    };
    const cell = (key, what, at) => {
      const offer = props.compared.known.get(key);
      if (offer === undefined) return h("td", { key, class: "quiet" }, at ? "" : "…");
      if (offer === null) return h("td", { key, class: "quiet" }, at ? "" : "Not on offer now.");
      if (offer instanceof Error) return h("td", { key, class: "bad" }, at ? "" : offer.message);
      return h("td", { key }, what(offer));
    };
    return () =>
      h("div", { class: "sheet compare", role: "region", "aria-label": "Side by side", tabindex: "0" }, [
        h("table", { style: { "--offers": props.keys.length } }, [
          h("thead", h("tr", [h("th", { scope: "col" }, h("span", { class: "hidden" }, "What")), ...props.keys.map(head)])),
          h("tbody", ROWS.map(([term, what], at) => h("tr", { key: term }, [h("th", { scope: "row" }, term), ...props.keys.map((key) => cell(key, what, at))]))),
        ]),
      ]);
  },
};
