// What of the configuration is in force, key by key, and who said so. Nothing is changed here.
import { computed, h, onBeforeUnmount, onMounted, reactive, ref, shallowRef } from "vue";
import { Choice, askJson, useQuery } from "lamplighter/assets/kit.js";

const EVERY = 30000; // ms between two looks: a reload may have changed something
const MOST = 200; // keys of a section that are drawn at once

const ORIGINS = [
  ["", "anybody"],
  ["said", "file or environment"],
  ["file", "the file"],
  ["environment", "the environment"],
  ["built in", "nobody: built in"],
  ["next", "counts from the next start on"],
];

const ABOUT = {
  server: "The server itself.",
  defaults: "When endpoints wake, sleep and give up, where they do not say otherwise themselves.",
  alarms: "When people are told, and where.",
  providers: "Where endpoints live.",
  endpoints: "What each says itself; the rest is as in defaults.",
  groups: "Endpoints that are started and stopped together.",
  upstreams: "Model APIs that are always on.",
  routes: "Where the requests for a model go.",
  budgets: "How much may be spent.",
  breaker: "When a target that goes on failing is left alone.",
  retry: "How requests are sent once more.",
  prices: "Where prices come from.",
  ledger: "Whose days count where costs are told.",
};

function isBy(one, origin) {
  if (!origin) return true;
  if (origin === "said") return one.origin !== "built in";
  if (origin === "next") return one.next_start !== null;
  return one.origin === origin;
}

const source = (one, file) => {
  if (one.origin === "environment") return h("span", [h("span", { class: "quiet" }, "environment "), h("code", one.variable)]);
  if (one.origin === "built in") return h("span", { class: "quiet" }, "built in");
  return h("span", { title: one.file }, one.file === file ? `line ${one.line}` : `${one.file}, line ${one.line}`);
};

const Row = (props) => {
  const { one, file } = props;
  return h("tr", { role: "row", class: { said: one.origin !== "built in" } }, [
    h("th", { role: "rowheader", scope: "row" }, one.key.startsWith(`${one.section}.`) ? one.key.slice(one.section.length + 1) : one.key),
    h("td", { role: "cell", class: "value" }, [
      h("code", { class: { unset: one.text === "not set" || one.text === "none" } }, one.text),
      one.is_secret ? h("span", { class: "mark", title: "It may hold a secret: only where that is can be shown." }, "secret") : null,
      one.next_start !== null ? h("p", { class: "next" }, ["from the next start on ", h("code", one.next_start)]) : null,
    ]),
    h("td", { role: "cell", class: "by" }, source(one, file)),
  ]);
};
Row.props = ["one", "file"];

export default {
  props: ["facts", "parameter", "go", "link"],
  setup() {
    const { state, set } = useQuery({ q: "", by: "", section: "" });
    const told = shallowRef(null);
    const problem = ref(null);
    const whole = reactive(new Set());

    const load = async () => {
      try {
        told.value = await askJson("GET", "/api/settings");
        problem.value = null;
      } catch (error) {
        problem.value = error.message;
      }
    };
    const timer = setInterval(() => !document.hidden && load(), EVERY);
    onMounted(load);
    onBeforeUnmount(() => clearInterval(timer));

    const names = computed(() => [...new Set((told.value?.settings ?? []).map((one) => one.section))]);
    const sections = computed(() => {
      const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
      const fits = (one) => {
        const text = `${one.key} ${one.text} ${one.variable ?? ""}`.toLowerCase();
        return isBy(one, state.by) && (!state.section || one.section === state.section) && words.every((word) => text.includes(word));
      };
      const by = new Map();
      for (const one of told.value?.settings ?? []) {
        if (!fits(one)) continue;
        if (!by.has(one.section)) by.set(one.section, []);
        by.get(one.section).push(one);
      }
      return [...by];
    });
    const shown = computed(() => sections.value.reduce((sum, [, rows]) => sum + rows.length, 0));
    const waiting = computed(() => (told.value?.settings ?? []).filter((one) => one.next_start !== null).length);
    const clear = () => ["q", "by", "section"].forEach((key) => set(key, ""));

    const part = ([name, rows]) => {
      const some = whole.has(name) ? rows : rows.slice(0, MOST);
      return h("section", { key: name, "aria-labelledby": `section-${name}` }, [
        h("h2", { id: `section-${name}` }, [name, h("span", { class: "quiet about" }, ABOUT[name] ?? "")]),
        h("table", { role: "table", "aria-labelledby": `section-${name}` }, [
          h("thead", { class: "hidden", role: "rowgroup" }, h("tr", { role: "row" }, ["Key", "Value", "Said by"].map((title) => h("th", { role: "columnheader", scope: "col" }, title)))),
          h("tbody", { role: "rowgroup" }, some.map((one) => h(Row, { key: one.key, one, file: told.value.source }))),
        ]),
        some.length < rows.length ? h("p", { class: "further" }, h("button", { type: "button", onClick: () => whole.add(name) }, `Show all ${rows.length} of ${name}`)) : null,
      ]);
    };
    const head = () => [
      h("p", { class: "from" }, ["In force from ", h("code", told.value.source), ". Nothing can be changed here: change the file, then send the server a SIGHUP, or start it anew."]),
      told.value.warnings.length ? h("ul", { class: "warnings" }, told.value.warnings.map((text) => h("li", text))) : null,
      waiting.value
        ? h("p", { class: "warnings" }, [`${waiting.value} ${waiting.value === 1 ? "key counts" : "keys count"} from the next start on only. `, h("button", { type: "button", class: "plain", onClick: () => { clear(); set("by", "next"); } }, "Show which")])
        : null,
    ];
    const tools = () =>
      h("section", { class: "tools", "aria-label": "Filter" }, [
        h("label", { class: "search" }, [
          h("span", { class: "hidden" }, "Filter by key, value or variable"),
          h("input", { type: "search", placeholder: "Filter: key, value, variable…", value: state.q, onInput: (event) => set("q", event.target.value) }),
        ]),
        h(Choice, { label: "Said by", value: state.by, options: ORIGINS, onPick: (value) => set("by", value) }),
        h(Choice, { label: "Section", value: state.section, options: [["", "all"], ...names.value.map((name) => [name, name])], onPick: (value) => set("section", value) }),
        h("p", { class: "quiet", role: "status" }, `${shown.value} of ${told.value.settings.length} keys`),
      ]);

    return () =>
      h("div", { class: "settings" }, [
        h("h1", "Settings"),
        problem.value && h("div", { class: "problem", role: "alert" }, [`The settings could not be read: ${problem.value} `, h("button", { type: "button", onClick: load }, "Try again")]),
        !told.value && !problem.value && h("p", { class: "quiet loading", "aria-busy": "true" }, "Looking…"),
        told.value && [head(), tools()],
        told.value && !sections.value.length && h("section", { class: "empty small" }, [h("p", "No key fits this filter."), h("button", { type: "button", onClick: clear }, "Show all")]),
        told.value && h("div", { class: "sections" }, sections.value.map(part)),
      ]);
  },
};
