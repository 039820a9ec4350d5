// The marketplace: what models can be had for, from whom, at what price, and who said so.
import { computed, h, onBeforeUnmount, onMounted, ref, shallowRef, watch } from "vue";
import { Choice, askJson, count, duration, useQuery } from "lamplighter/assets/kit.js";
import { board } from "lamplighter/assets/live.js";
import { Comparison, MOST, Picked, picked } from "lamplighter/screens/market/comparing.js";
import { Explanation } from "lamplighter/screens/market/explaining.js";
import { REGIONS, ago, keyOf } from "lamplighter/screens/market/figures.js";
import { useCompared, useOffers, useProviders } from "lamplighter/screens/market/loading.js";
import { ModelHead, Models } from "lamplighter/screens/market/models.js";
import { OfferCard, OfferTable } from "lamplighter/screens/market/parts.js";
import { DeployWindow, RouteWindow } from "lamplighter/screens/market/windows.js";
import { byId } from "lamplighter/screens/market/writing.js";

const NOTHING = { q: "", model: "", task: "", region: "", provider: "", kind: "", price: "", context: "", tools: "", sort: "price", view: "", compare: "" };
const FILTERS = ["q", "task", "region", "provider", "kind", "price", "context", "tools"];
const TASKS = ["text", "image", "audio", "video", "multimodal", "embedding", "tabular", "other"];
const CONTEXTS = [["8000", "8k"], ["32000", "32k"], ["128000", "128k"], ["200000", "200k"], ["1000000", "1M"]];
const SORTS = [["price", "price"], ["throughput", "tokens a second"], ["first-token", "first token"], ["context", "context"], ["model", "model"], ["provider", "provider"]];
const PAUSE = 250; // ms of no typing before the server is asked

/** Options with the one of the address, whatever it is. */
const withOwn = (options, value) => (value && !options.some(([key]) => key === value) ? [...options, [value, value]] : options);

/** What a visitor can have made here: hardware by id, where this server has any and the role may. */
function useDeploying(facts) {
  const hardware = shallowRef(new Map());
  const load = async () => {
    try {
      hardware.value = byId(await askJson("GET", `/v2/provider/${encodeURIComponent(facts.namespace)}`));
    } catch {
      hardware.value = new Map(); // nothing can be made then, and nothing is offered
    }
  };
  const may = () => facts.role === "admin" && hardware.value.size > 0;
  return { hardware, load, may };
}

function whyNot(facts, deploying, offer) {
  if (facts.role !== "admin") return "Takes a key whose role is admin.";
  if (offer.hardware && !offer.endpoint && !deploying.hardware.value.has(offer.hardware)) return "No provider of this server has this hardware now.";
  return deploying.may() ? null : "No provider of this server can make endpoints now.";
}

export default {
  props: ["facts", "parameter", "go", "link"],
  setup(props) {
    const { state, set } = useQuery(NOTHING);
    const offers = useOffers(state);
    const compared = useCompared();
    const providers = useProviders();
    const deploying = useDeploying(props.facts);
    const windowed = shallowRef(null); // what, and of which offer
    const explained = ref(null);
    const made = ref(null);
    const folded = ref(true); // the filters, in a narrow window
    const keys = computed(() => picked(state.compare));
    const filtered = computed(() => FILTERS.some((key) => state[key] !== ""));
    const asTable = computed(() => state.view === "table");

    const asked = () => [...FILTERS, "model", "sort"].map((key) => state[key]).join("\n");
    let waiting = 0;
    const soon = () => {
      clearTimeout(waiting);
      waiting = setTimeout(offers.load, PAUSE);
    };
    watch(asked, soon);
    watch(offers.found, (found) => found && compared.note(found.offers));
    onMounted(async () => {
      deploying.load();
      await offers.load();
      providers.load();
    });
    onBeforeUnmount(() => (clearTimeout(waiting), offers.stop()));

    const again = () => {
      compared.forget();
      keys.value.forEach(compared.find);
      deploying.load();
      offers.load();
    };
    const clear = () => FILTERS.forEach((key) => set(key, ""));
    /** Change what is looked at so that the browser's way back leads here again. */
    const step = (changes) => {
      history.pushState(null, "", location.href);
      for (const [key, value] of Object.entries(changes)) set(key, value);
      scrollTo(0, 0);
    };

    const open = {
      path: (model) => `/market?model=${encodeURIComponent(model)}`,
      go(event, model) {
        if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
        event.preventDefault();
        explained.value = null;
        step({ model, q: "", view: state.view === "models" ? "" : state.view });
      },
    };
    const actions = {
      isPicked: (offer) => keys.value.includes(keyOf(offer)),
      isFull: () => keys.value.length >= MOST,
      pick(offer) {
        const key = keyOf(offer);
        compared.note([offer]);
        set("compare", (keys.value.includes(key) ? keys.value.filter((one) => one !== key) : [...keys.value, key]).join(","));
      },
      modelPath: (offer) => open.path(offer.model),
      openModel: (event, offer) => open.go(event, offer.model),
      items(offer) {
        const list = [
          { label: "Use in a route…", means: "Shows what to write into lamplighter.yaml. Changes nothing.", run: () => (windowed.value = { what: "route", offer }) },
          { label: "Deploy this…", means: offer.hardware && !offer.endpoint ? "Makes an endpoint on this hardware, after saying what it costs." : "Makes an endpoint of this model on hardware that it fits on, after saying what it costs.", off: whyNot(props.facts, deploying, offer), run: () => (windowed.value = { what: "deploy", offer }) },
          { label: "What it would have cost…", means: `What your own requests to ${offer.endpoint ?? "this model"} have cost, and would have elsewhere.`, run: () => explain(offer.endpoint ?? offer.model) },
        ];
        return props.facts.role === "admin" ? list : list.filter((item) => item.label !== "Deploy this…");
      },
    };
    const explain = (name) => {
      explained.value = name;
      scrollTo(0, 0);
    };
    const drop = (key) => set("compare", keys.value.filter((one) => one !== key).join(","));

    const typed = (key, label, more) =>
      h("label", { class: "choice" }, [h("span", label), h("input", { value: state[key], onInput: (event) => set(key, event.target.value), ...more })]);
    const choice = (key, label, options) => h(Choice, { label, value: state[key], options: withOwn(options, state[key]), onPick: (value) => set(key, value) });

    const views = () => {
      const view = (key, label, is) => h("button", { type: "button", "aria-pressed": String(is), onClick: () => set("view", key) }, label);
      const own = state.view === "models" || state.view === "compare";
      return h("div", { class: "switch", role: "group", "aria-label": "Show as" }, [view("", "Cards", !own && !asTable.value), view("table", "Table", asTable.value), view("models", "Models", state.view === "models")]);
    };

    const tools = () => {
      const catalogue = state.view === "models";
      const number = FILTERS.filter((key) => key !== "q" && state[key] !== "").length;
      return h("section", { class: ["market-tools", { folded: folded.value }], "aria-label": "Filter and order" }, [
        h("label", { class: "search" }, [h("span", { class: "hidden" }, "Filter by a part of the model's name"), h("input", { type: "search", placeholder: "Filter: model", value: state.q, onInput: (event) => set("q", event.target.value) })]),
        h("button", { type: "button", class: "fold", "aria-expanded": String(!folded.value), onClick: () => (folded.value = !folded.value) }, number ? `Filters (${number})` : "Filters"),
        choice("task", "Task", [["", "any"], ...TASKS.map((one) => [one, one])]),
        catalogue ? null : choice("region", "Region", [["", "any"], ...Object.entries(REGIONS)]),
        choice("provider", "Provider", [["", "any"], ...providers.names.value.map((one) => [one, one])]),
        catalogue ? null : choice("kind", "Paid", [["", "any way"], ["serverless", "by use"], ["hardware", "by the hour"]]),
        catalogue ? null : typed("price", "At most $", { type: "number", min: 0, step: "any", class: "small", title: "Per million tokens out, or per hour of hardware" }),
        catalogue ? null : choice("context", "Context", [["", "any"], ...CONTEXTS.map(([key, label]) => [key, `${label} or more`])]),
        catalogue ? null : choice("tools", "Tools", [["", "any"], ["true", "with"], ["false", "without"]]),
        catalogue ? null : choice("sort", "Sort", SORTS),
        filtered.value ? h("button", { type: "button", class: "plain", onClick: clear }, "Clear filters") : null,
        views(),
      ]);
    };

    const sources = () => {
      const all = offers.found.value?.sources ?? [];
      const good = all.filter((one) => one.age !== null);
      const bad = all.filter((one) => one.trouble);
      return [
        bad.map((one) =>
          h("p", { class: "problem", role: "status", key: one.name }, [h("strong", one.name), `: ${one.trouble} `, one.at === null ? "Nothing of it is shown." : `Shown is what it told ${duration(one.age)} ago.`]),
        ),
        good.length
          ? h("p", { class: "quiet sources" }, [`Told by ${good.map((one) => `${one.name === "here" ? "this server" : one.name} (${ago(one.at)})`).join(", ")}. `, h("button", { type: "button", class: "plain", onClick: again }, "Look again")])
          : null,
      ];
    };

    const empty = () => {
      const all = offers.found.value?.sources ?? [];
      if (filtered.value)
        return h("section", { class: "empty small" }, [
          h("p", ["No offer fits this filter.", state.price !== "" ? " What has no price is left out while there is a highest one." : "", state.region ? " What does not tell its region is left out, too." : ""]),
          h("button", { type: "button", onClick: clear }, "Clear filters"),
        ]);
      if (state.model) return h("section", { class: "empty small" }, h("p", `Nobody has ${state.model} on offer, and no hardware that it fits on is known.`));
      const silent = all.filter((one) => one.trouble);
      return h("section", { class: "empty" }, [
        h("h2", silent.length ? "Nothing is known of offers now" : "No offer yet"),
        silent.length
          ? h("p", "Nobody who was asked has told anything since this server started; why stands above. Offers appear once they can be reached.")
          : h("p", ["Offers come from endpoints and upstreams in ", h("code", "lamplighter.yaml"), ", and from marketplaces: with a Hugging Face token, ", h("code", "providers: {huggingface: {}}"), " brings those of its router."]),
        h("button", { type: "button", onClick: again }, "Look again"),
      ]);
    };

    const list = () => {
      const { found, problem, busy } = offers;
      if (problem.value) {
        const field = problem.value.message.split(":", 1)[0];
        return h("div", { class: "empty small" }, [
          h("p", { class: "problem", role: "alert" }, `The offers could not be told: ${problem.value.message}`),
          problem.value.status === 422 || problem.value.status === 400 ? h("button", { type: "button", onClick: clear }, `Clear filters${field in NOTHING ? ` (${field} is not right)` : ""}`) : h("button", { type: "button", onClick: again }, "Try again"),
        ]);
      }
      if (!found.value) return h("p", { class: "quiet loading", "aria-busy": "true" }, "Looking…");
      if (!found.value.offers.length) return empty();
      const all = found.value.offers;
      return [
        h("p", { class: "quiet count", role: "status" }, `${count(found.value.total)} ${found.value.total === 1 ? "offer" : "offers"}${all.length < found.value.total ? `, the first ${count(all.length)} are shown` : ""}${busy.value ? " …" : ""}`),
        asTable.value
          ? h(OfferTable, { offers: all, actions })
          : h("div", { class: "offers" }, all.map((offer) => h(OfferCard, { key: keyOf(offer), offer, actions }))),
        found.value.next !== null ? h("p", { class: "more" }, h("button", { type: "button", disabled: busy.value, onClick: () => offers.load({ more: true }) }, busy.value ? "…" : "More offers")) : null,
      ];
    };

    const comparison = () => [
      h("header", { class: "model-head" }, [h("h2", "Side by side"), h("button", { type: "button", onClick: () => set("view", "") }, "Back to the offers")]),
      keys.value.length ? h(Comparison, { keys: keys.value, compared, actions, drop }) : h("section", { class: "empty small" }, h("p", "Nothing is picked. Press Compare at offers, four at most.")),
    ];

    const content = () => {
      if (state.view === "compare") return comparison();
      if (state.view === "models") return h(Models, { search: state.q, task: state.task, provider: state.provider, open });
      return [sources(), list()];
    };

    return () =>
      h("div", { class: "market" }, [
        h("h1", { class: "hidden" }, "Marketplace"),
        state.view === "compare" ? null : tools(),
        made.value && h("p", { class: "note", role: "status" }, [h("strong", made.value), " is made, and starts now. ", props.link("/", {}, "See it under Endpoints"), "."]),
        state.model && state.view !== "compare" && state.view !== "models" && 
          h(ModelHead, { name: state.model, onLeave: () => step({ model: "" }) }, () => [
            h("button", { type: "button", onClick: () => explain(state.model) }, "What it would have cost"),
            deploying.may() && !board.rows.has(state.model) ? h("button", { type: "button", onClick: () => (windowed.value = { what: "deploy", offer: { model: state.model, hardware: null } }) }, "Deploy") : null,
          ]),
        explained.value && h(Explanation, { name: explained.value, onClose: () => (explained.value = null) }),
        content(),
        keys.value.length && state.view !== "compare" ? h(Picked, { keys: keys.value, drop, show: () => step({ view: "compare" }), clear: () => set("compare", "") }) : null,
        windowed.value?.what === "route" && h(RouteWindow, { offer: windowed.value.offer, hardware: deploying.hardware.value, onClose: () => (windowed.value = null) }),
        windowed.value?.what === "deploy" &&
          h(DeployWindow, { offer: windowed.value.offer, hardware: deploying.hardware.value, namespace: props.facts.namespace, onClose: () => (windowed.value = null), onMade: (name) => { windowed.value = null; made.value = name; again(); } }),
      ]);
  },
};
