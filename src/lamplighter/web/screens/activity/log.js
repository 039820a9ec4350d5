// The audit log: who operated what, when, from where, and how it went; the newest first.
import { computed, h, onBeforeUnmount, onMounted, ref, shallowRef, watch } from "vue";
import { Choice, askJson, moment, useQuery } from "lamplighter/assets/kit.js";
import { board, serverNow } from "lamplighter/assets/live.js";
import { DEFAULTS, SPANS, fieldOf, isFiltered, queryOf, unixOf } from "lamplighter/screens/activity/filters.js";

const PAGE = 100;
const PAUSE = 300; // ms after the last key that was typed
const EVERY = 3000; // ms between two looks at what came since
const MOST = 2000; // entries that are kept on the page

const HEADINGS = ["When", "What", "Endpoint", "Who", "Outcome", "Change", "From"];

const Entry = (props) => {
  const { one, link, hasEndpoint } = props;
  const cell = (label, content, kind) => h("td", { role: "cell", "data-label": label, class: [kind, { nothing: !content }] }, content || "–");
  const endpoint = one.endpoint && hasEndpoint ? link(`/endpoint/${encodeURIComponent(one.endpoint)}`, {}, one.endpoint) : one.endpoint;
  return h("tr", { role: "row", class: { failed: !one.success } }, [
    h("td", { role: "cell", class: "at" }, h("time", { datetime: new Date(one.at * 1000).toISOString() }, moment(one.at))),
    h("th", { role: "rowheader", scope: "row" }, one.operation),
    cell("Endpoint", endpoint),
    cell("Who", one.actor),
    cell("Outcome", one.success ? "went well" : h("span", { class: "wrong" }, one.error || "failed"), one.success ? "well" : "outcome"),
    cell("Change", one.change, "change"),
    cell("From", one.source && h("span", { title: one.request_id ? `request ${one.request_id}` : undefined }, one.source), "from"),
  ]);
};
Entry.props = ["one", "link", "hasEndpoint"];

/** The entries that the filters in the address find: the first page, older ones, and what comes. */
function useLog(state) {
  const entries = shallowRef(null);
  const cursor = ref(null);
  const busy = ref(false);
  const problem = ref(null);
  let round = 0;
  let wanted = new URLSearchParams();

  const page = (more) => {
    const query = new URLSearchParams(wanted);
    for (const [key, value] of Object.entries(more)) query.set(key, value);
    return askJson("GET", `/api/audit?${query}`);
  };
  const within = async (work) => {
    const mine = (round += 1);
    busy.value = true;
    try {
      await work(() => mine === round);
      if (mine === round) problem.value = null;
    } catch (error) {
      if (mine === round) problem.value = error.message;
    } finally {
      if (mine === round) busy.value = false;
    }
  };
  const load = () =>
    within(async (counts) => {
      wanted = queryOf(state, serverNow());
      const found = await page({ limit: PAGE });
      if (!counts()) return;
      entries.value = found.entries;
      cursor.value = found.next_cursor;
    });
  const older = () =>
    within(async (counts) => {
      const found = await page({ limit: PAGE, cursor: cursor.value });
      if (!counts()) return;
      entries.value = [...entries.value, ...found.entries];
      cursor.value = found.next_cursor;
    });
  /** What came since. More than a page of it, and the list begins anew. */
  const newer = async () => {
    if (busy.value || document.hidden || !entries.value || problem.value) return;
    const mine = round;
    try {
      const found = await page({ limit: PAGE, after: entries.value[0]?.id ?? 0 });
      if (mine !== round || !found.entries.length) return;
      if (found.next_cursor || entries.value.length > MOST) await load();
      else entries.value = [...found.entries, ...entries.value];
    } catch (error) {
      if (mine === round && error.status !== 429) problem.value = error.message;
    }
  };
  return { entries, cursor, busy, problem, load, older, newer };
}

export const Log = {
  props: ["facts", "link"],
  setup(props) {
    const { state, set } = useQuery(DEFAULTS);
    const log = useLog(state);
    let typing = null;
    let timer = null;
    onMounted(() => {
      log.load();
      timer = setInterval(log.newer, EVERY);
    });
    onBeforeUnmount(() => {
      clearInterval(timer);
      clearTimeout(typing);
    });
    watch(state, () => {
      clearTimeout(typing);
      typing = setTimeout(log.load, PAUSE);
    });

    const hasEndpoint = props.facts.screens.some((screen) => screen.path.startsWith("/endpoint/"));
    const seen = (key) => [...new Set((log.entries.value ?? []).map((one) => one[key]).filter(Boolean))].sort();
    const known = computed(() => ({
      endpoint: [...new Set([...(board.number, board.rows.keys()), ...seen("endpoint")])].sort(),
      actor: seen("actor"),
      operation: seen("operation"),
    }));

    const field = (key, label, example) =>
      h("label", { class: "by" }, [
        h("span", label),
        h("input", { type: "search", list: `known-${key}`, placeholder: example, value: state[key], autocomplete: "off", spellcheck: "false", onInput: (event) => set(key, event.target.value) }),
        h("datalist", { id: `known-${key}` }, known.value[key].slice(0, 300).map((value) => h("option", { value }))),
      ]);
    const time = (key, label) =>
      h("label", { class: "by" }, [h("span", label), h("input", { type: "datetime-local", value: fieldOf(state[key]), onChange: (event) => set(key, unixOf(event.target.value)) })]);
    const clear = () => Object.entries(DEFAULTS).forEach(([key, value]) => set(key, value));

    const tools = () =>
      h("section", { class: "tools", "aria-label": "Filter" }, [
        field("endpoint", "Endpoint", "any"),
        field("actor", "Who", "anybody"),
        field("operation", "What", "anything"),
        h(Choice, { label: "Outcome", value: state.success, options: [["", "any"], ["true", "went well"], ["false", "failed or refused"]], onPick: (value) => set("success", value) }),
        h(Choice, { label: "When", value: state.when, options: SPANS, onPick: (value) => set("when", value) }),
        state.when === "between" ? [time("since", "from"), time("until", "until")] : null,
        isFiltered(state) ? h("button", { type: "button", class: "plain", onClick: clear }, "Show all") : null,
      ]);
    const table = () =>
      h("div", { class: "frame-of-table" }, [
        h("table", { role: "table", "aria-label": "Audit log" }, [
          h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, HEADINGS.map((title) => h("th", { role: "columnheader", scope: "col" }, title)))),
          h("tbody", { role: "rowgroup" }, log.entries.value.map((one) => h(Entry, { key: one.id, one, link: props.link, hasEndpoint }))),
        ]),
      ]);
    const list = () => {
      if (!log.entries.value) return log.problem.value ? null : h("p", { class: "quiet loading", "aria-busy": "true" }, "Looking…");
      if (log.entries.value.length) return table();
      return isFiltered(state)
        ? h("section", { class: "empty small" }, [h("p", "Nothing on record fits this filter. Names have to be whole: chat, key:ci, ask wake."), h("button", { type: "button", onClick: clear }, "Show all")])
        : h("section", { class: "empty small" }, [h("p", "Nothing is on record yet. What is woken, put to sleep, paused, made or changed will stand here, with who did it.")]);
    };
    const words = () => {
      const many = log.entries.value?.length ?? 0;
      return log.entries.value ? `${many} ${many === 1 ? "entry" : "entries"}${log.cursor.value ? ", and older ones" : ""}` : "";
    };

    return () =>
      h("section", { class: "log", "aria-labelledby": "log-title" }, [
        h("div", { class: "head" }, [h("h2", { id: "log-title" }, "Audit log"), h("p", { class: "quiet" }, words())]),
        tools(),
        h("p", { class: "hidden", role: "status" }, log.busy.value ? "" : `${words()} shown.`),
        log.problem.value && h("div", { class: "problem", role: "alert" }, [`The audit log could not be read: ${log.problem.value} `, h("button", { type: "button", onClick: log.load }, "Try again")]),
        list(),
        log.cursor.value && h("p", { class: "further" }, h("button", { type: "button", disabled: log.busy.value, onClick: log.older }, log.busy.value ? "…" : "Show older ones")),
      ]);
  },
};
