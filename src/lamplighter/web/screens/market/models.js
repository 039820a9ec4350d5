// The catalogue, a page at a time, and what it tells of one model.
import { h, onMounted, ref, shallowRef, watch } from "vue";
import { askJson, count, duration } from "lamplighter/assets/kit.js";
import { board } from "lamplighter/assets/live.js";
import { parameters, tokens } from "lamplighter/screens/market/figures.js";

const NOTHING = () => h("span", { class: "quiet" }, "–");

/** How old what was told is, and why nothing newer is known. */
const aged = (page) => (page.trouble ? `As told ${duration(page.age)} ago: ${page.trouble}` : page.age >= 10 ? `As told ${duration(page.age)} ago.` : "");

/** The models of the marketplaces, by the filters of the address that a catalogue knows. */
export const Models = {
  props: ["search", "task", "provider", "open"],
  setup(props) {
    const page = shallowRef(null);
    const problem = shallowRef(null);
    const busy = ref(false);
    let current = null;

    const load = async (more = false) => {
      current?.abort();
      const mine = (current = new AbortController());
      busy.value = true;
      const query = new URLSearchParams({ sort: "downloads", limit: 50 });
      for (const key of ["search", "task", "provider"]) if (props[key]) query.set(key, props[key]);
      if (more) query.set("cursor", page.value.next);
      try {
        const told = await askJson("GET", `/api/models?${query}`, { signal: mine.signal });
        page.value = more ? { ...told, models: [...page.value.models, ...told.models] } : told;
        problem.value = null;
      } catch (error) {
        if (error.name !== "AbortError") problem.value = error;
      } finally {
        if (mine === current) busy.value = false;
      }
    };
    onMounted(() => load());
    watch(() => [props.search, props.task, props.provider], () => load());

    const line = (model) =>
      h("tr", { key: `${model.source} ${model.id}` }, [
        h("th", { scope: "row" }, h("a", { href: props.open.path(model.id), onClick: (event) => props.open.go(event, model.id) }, model.id)),
        h("td", model.task ?? NOTHING()),
        h("td", { class: "number" }, parameters(model.parameters) ?? NOTHING()),
        h("td", { class: "number" }, tokens(model.context) ?? NOTHING()),
        h("td", model.license ?? NOTHING()),
        h("td", { class: "number" }, model.downloads === null ? NOTHING() : count(model.downloads)),
        h("td", { class: "number" }, model.likes === null ? NOTHING() : count(model.likes)),
        h("td", model.providers.length ? model.providers.map((one) => one.provider).join(", ") : NOTHING()),
        h("td", model.gated ? "has to be asked for" : ""),
      ]);

    return () => [
      problem.value && h("p", { class: "problem", role: "alert" }, [`The catalogue could not be read: ${problem.value.message} `, h("button", { type: "button", onClick: () => load() }, "Try again")]),
      page.value && aged(page.value) && h("p", { class: "quiet" }, aged(page.value)),
      page.value && !page.value.models.length && !problem.value
        ? h("section", { class: "empty small" }, h("p", page.value.next ? "None of these models fits; there are more to look through." : "No model fits this filter."))
        : null,
      page.value?.models.length
        ? h("div", { class: "sheet", role: "region", "aria-label": "Models", tabindex: "0" }, [
            h("table", [
              h("thead", h("tr", ["Model", "Task", "Parameters", "Context", "Licence", "Downloads", "Likes", "Served by", "Access"].map((label, at) => h("th", { scope: "col", class: { number: [2, 3, 5, 6].includes(at) } }, label)))),
              h("tbody", page.value.models.map(line)),
            ]),
          ])
        : !page.value && !problem.value && h("p", { class: "quiet loading", "aria-busy": "true" }, "Looking…"),
      page.value?.next && h("p", { class: "more" }, h("button", { type: "button", disabled: busy.value, onClick: () => load(true) }, busy.value ? "…" : "More models")),
    ];
  },
};

/** What the catalogue tells of one model, above its offers. */
export const ModelHead = {
  props: ["name"],
  emits: ["leave"],
  setup(props, { emit, slots }) {
    const model = shallowRef(null);
    const problem = shallowRef(null);
    const load = async () => {
      const name = props.name;
      model.value = problem.value = null;
      if (!board.loaded && !board.problem) return; // it is not known yet whether that is one of ours
      if (board.rows.has(name)) return; // an endpoint of this server, which no catalogue lists
      try {
        const page = await askJson("GET", `/api/models?id=${encodeURIComponent(name)}`);
        if (name === props.name) model.value = page.models[0] ?? null;
      } catch (error) {
        if (name === props.name) problem.value = error;
      }
    };
    onMounted(load);
    watch(() => [props.name, board.loaded, board.problem], load);
    const facts = (one) =>
      [one.task, parameters(one.parameters) && `${parameters(one.parameters)} parameters`, one.context && `${tokens(one.context)} tokens of context`, one.license && `licence ${one.license}`, one.downloads !== null && `${count(one.downloads)} downloads a month`, one.gated && "its owner has to let one in"].filter(Boolean).join(" · ");
    return () =>
      h("section", { class: "model-head" }, [
        h("div", [
          h("h2", props.name),
          model.value ? h("p", { class: "quiet" }, facts(model.value)) : problem.value ? h("p", { class: "quiet" }, `What it is was not told: ${problem.value.message}`) : h("p", { class: "quiet" }, board.rows.has(props.name) ? "an endpoint of this server" : "…"),
        ]),
        h("div", { class: "doing" }, [slots.default?.(), h("button", { type: "button", onClick: () => emit("leave") }, "All models")]),
      ]);
  },
};
