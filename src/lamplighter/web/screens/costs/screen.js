// Costs: by day, endpoint, key and tag; budgets; what it would have been otherwise.
import { computed, h, onBeforeUnmount, onMounted, ref, watch } from "vue";
import { Choice, askJson, count, money, moment, useQuery } from "lamplighter/assets/kit.js";
import { board, connection } from "lamplighter/assets/live.js";
import { BY, DEFAULTS, PERIODS, isDay, reportQuery } from "lamplighter/screens/costs/asking.js";
import { Budgets } from "lamplighter/screens/costs/budgets.js";
import { ByDay } from "lamplighter/screens/costs/chart.js";
import { Lines } from "lamplighter/screens/costs/lines.js";
import { WhatIf } from "lamplighter/screens/costs/what_if.js";

const AGAIN = 15000; // how often the books are asked while the page is looked at (ms)

/** Reads reports and budgets, again and again; an older answer never takes the place of a newer one. */
function useBooks(state) {
  const lines = ref(null);
  const days = ref(null);
  const budgets = ref(null);
  const problem = ref(null);
  const budgetProblem = ref(null);
  const busy = ref(false);
  let asking = null;

  const readCosts = async (signal) => {
    try {
      const by = BY.some(([word]) => word === state.by) ? state.by : DEFAULTS.by;
      const [some, each] = await Promise.all([
        askJson("GET", `/api/cost?${reportQuery(state, by)}`, { signal }),
        askJson("GET", `/api/cost?${reportQuery(state, "day")}`, { signal }),
      ]);
      [lines.value, days.value, problem.value] = [some, each, null];
    } catch (error) {
      if (error.name !== "AbortError") problem.value = error.message;
    }
  };
  const readBudgets = async (signal) => {
    try {
      budgets.value = (await askJson("GET", "/api/budgets", { signal })).budgets;
      budgetProblem.value = null;
    } catch (error) {
      if (error.name !== "AbortError") budgetProblem.value = error.message;
    }
  };
  const read = async () => {
    asking?.abort();
    const mine = (asking = new AbortController());
    busy.value = true;
    await Promise.all([readCosts(mine.signal), readBudgets(mine.signal)]);
    if (mine === asking) busy.value = false;
  };
  let timer = null;
  onMounted(() => {
    read();
    timer = setInterval(() => !document.hidden && !busy.value && connection.state === "live" && read(), AGAIN);
  });
  onBeforeUnmount(() => {
    clearInterval(timer);
    asking?.abort();
  });
  watch(() => [state.since, state.until, state.by, state.tag, state.endpoint, state.key], read);
  return { lines, days, budgets, problem, budgetProblem, busy, read };
}

export default {
  props: ["facts", "parameter", "go", "link"],
  setup(props) {
    const { state, set } = useQuery(DEFAULTS);
    const books = useBooks(state);
    const names = computed(() => (board.number, [...board.rows.keys()].sort()));
    const usual = computed(() => {
      const dearest = books.lines.value?.by[0] === "endpoint" ? books.lines.value.lines.find((line) => board.rows.has(line.group.endpoint)) : null;
      return dearest?.group.endpoint ?? (books.lines.value ? names.value[0] : "");
    });

    const pickPeriod = (value) => {
      if (value !== "days") set("until", "");
      set("since", value === "days" ? (books.days.value?.since ?? new Date().toISOString().slice(0, 10)) : value);
    };
    const only = (value) => {
      const by = state.by;
      set(by, value);
      set("by", by === "endpoint" ? "key" : "endpoint");
    };
    const day = (label, key) =>
      h("label", { class: "choice" }, [h("span", label), h("input", { type: "date", value: state[key], onChange: (event) => (event.target.value || key === "until") && set(key, event.target.value) })]);
    const chip = (key, label) =>
      state[key] && h("button", { type: "button", class: "chip", "aria-label": `Show all, not only ${label} ${state[key]}`, onClick: () => set(key, "") }, [`${label} `, h("strong", shownName(key)), h("span", { "aria-hidden": "true" }, " ×")]);
    const shownName = (key) => {
      const line = key === "key" && books.lines.value?.lines.find((one) => one.group.key === state.key);
      return (line && line.group.key_name) || state[key];
    };

    const tools = () => {
      const known = PERIODS.some(([word]) => word === state.since) && !state.until;
      const csv = (by) => `/page/rest/api/cost?${reportQuery(state, by, { format: "csv" })}`;
      const periods = [...PERIODS, ["days", "days…"]];
      return h("section", { class: "tools", "aria-label": "Period and filter" }, [
        h(Choice, { label: "Period", value: known ? state.since : "days", options: periods, onPick: pickPeriod }),
        known ? null : [day("From", "since"), day("Before", "until")],
        h(Choice, { label: "By", value: state.by, options: BY, onPick: (value) => set("by", value) }),
        h("label", { class: "choice" }, [h("span", "Tag"), h("input", { class: "tag", value: state.tag, placeholder: state.by === "tag" ? "team" : "team=research", autocomplete: "off", spellcheck: "false", onChange: (event) => set("tag", event.target.value.trim()) })]),
        chip("endpoint", "endpoint"),
        chip("key", "key"),
        h("div", { class: "save" }, [
          h("a", { class: "download", href: csv(state.by), download: `costs-by-${state.by}.csv` }, "CSV"),
          h("a", { class: "download", href: csv(`day,${state.by}`), download: `costs-by-day-and-${state.by}.csv` }, "CSV by day"),
        ]),
      ]);
    };

    const figure = (value, label) => h("div", { class: "figure" }, [h("strong", value), h("span", label)]);
    const summary = (report) => {
      const { total } = report;
      return h("section", { class: "summary", "aria-label": "In all" }, [
        figure(money(Number(total.total)), "in all"),
        total.saved !== null ? figure(money(Number(total.saved)), "saved by sleeping") : null,
        figure(count(total.requests), total.requests === 1 ? "request" : "requests"),
        total.per_request !== null ? figure(money(Number(total.per_request)), "a request") : null,
        total.per_million_tokens !== null ? figure(money(Number(total.per_million_tokens)), "per 1M tokens") : null,
      ]);
    };
    const notes = (report) => {
      const { total } = report;
      const hours = (total.unpriced_seconds / 3600).toFixed(1);
      return h("p", { class: "quiet notes" }, [
        `Up to ${moment(report.at)}; days of ${report.time_zone}. `,
        total.saved !== null ? "Saved is what staying awake all the time would have cost on top. " : "What was saved is known of whole endpoints alone. ",
        Number(total.estimated) > 0 ? `≈ ${money(Number(total.estimated))} of it is an estimate: nobody looked meanwhile. ` : "",
        total.unpriced_seconds > 0 ? `For ${hours} h no price was known, which counts as nothing.` : "",
      ]);
    };
    const everything = () => {
      for (const key of ["until", "tag", "endpoint", "key"]) set(key, "");
      set("since", "all");
    };
    const nothing = () => {
      const chosen = state.endpoint || state.key || state.tag || state.until || state.since !== "all";
      return h("section", { class: "empty small" }, [
        h("p", names.value.length ? "Nothing is in the books for this choice." : "Nothing is in the books yet: costs appear here as soon as an endpoint is awake."),
        board.loaded && !names.value.length ? h("p", props.link("/", {}, "How to make the first endpoint")) : null,
        chosen ? h("button", { type: "button", onClick: everything }, "Show all there is") : null,
      ]);
    };
    const failed = (text, title) =>
      h("p", { class: "problem", role: "alert" }, [`${title}: ${text} `, h("button", { type: "button", class: "plain", onClick: books.read }, "Try again"), " ", h("button", { type: "button", class: "plain", onClick: () => { for (const key of Object.keys(DEFAULTS)) set(key, DEFAULTS[key]); } }, "Start over")]);

    const report = () => {
      const lines = books.lines.value;
      if (!lines) return books.problem.value ? null : h("p", { class: "loading quiet", "aria-busy": "true" }, "Adding up…");
      if (!lines.lines.length) return nothing();
      return [
        summary(lines),
        h(ByDay, { report: books.days.value, table: state.chart === "table", onPick: (value) => set("chart", value) }),
        h(Lines, { report: lines, by: lines.by[0], onOnly: only, key: lines.by[0] }),
        notes(lines),
      ];
    };

    return () =>
      h("div", { class: "costs" }, [
        h("h1", { class: "hidden" }, "Costs"),
        tools(),
        books.problem.value ? failed(books.problem.value, "The costs could not be read") : null,
        h("div", { "aria-busy": String(books.busy.value) }, report()),
        books.budgetProblem.value ? failed(books.budgetProblem.value, "The budgets could not be read") : null,
        books.budgets.value ? h(Budgets, { budgets: books.budgets.value }) : null,
        board.loaded ? h(WhatIf, { state, set, names: names.value, usual: usual.value }) : null,
      ]);
  },
};
