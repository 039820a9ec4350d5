// All endpoints: what is awake, what it costs, what will sleep when; and what can be done about it.
import { computed, h, ref } from "vue";
import { Choice, Question, ask, money, useQuery } from "lamplighter/assets/kit.js";
import { board } from "lamplighter/assets/live.js";
import { Problems, useActions } from "lamplighter/screens/endpoints/actions.js";
import { Card } from "lamplighter/screens/endpoints/card.js";
import { HEADINGS, Line } from "lamplighter/screens/endpoints/line.js";
import { Window } from "lamplighter/screens/endpoints/window.js";
import { GROUPS, PHASES, SORTS, isAwake, isUp, matches, perHour, spentToday } from "lamplighter/screens/endpoints/order.js";

const MANY = 60; // from here on a table says more than cards

const Empty = (props) =>
  h("section", { class: "empty" }, [
    h("h1", "No endpoint yet"),
    h("p", "An endpoint is a model server with a name. It sleeps until a request for it comes, and costs nothing until then."),
    h("ol", [
      h("li", ["Give one in ", h("code", "lamplighter.yaml"), ", then send the server a SIGHUP; ", h("code", "lamplighter init"), " writes a file to start from:"]),
      h("li", [
        "or deploy one from a terminal:",
        h("pre", `lamplighter catalog deploy HuggingFaceTB/SmolLM2-135M-Instruct --name small${props.keys ? "" : "\nlamplighter list"}`),
      ]),
    ]),
    h("p", { class: "quiet" }, "It appears here by itself."),
  ]);
Empty.props = ["keys"];

export default {
  props: ["facts", "parameter", "go", "link"],
  setup(props) {
    const { state, set } = useQuery({ q: "", phase: "", sort: "status", group: "", view: "" });
    const actions = useActions(props.facts);
    const asking = ref(null);

    const all = computed(() => (board.number, [...board.rows.values()]));
    const found = computed(() => {
      const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
      return all.value.filter((row) => matches(row, words, state.phase)).sort(SORTS[state.sort]?.[1] ?? SORTS.status[1]);
    });
    const asTable = computed(() => (state.view ? state.view === "table" : all.value.length > MANY));
    const groups = computed(() => {
      const key = GROUPS[state.group]?.[1];
      if (!key) return [{ title: null, rows: found.value }];
      const by = new Map();
      for (const row of found.value) by.set(key(row), [...(by.get(key(row)) ?? []), row]);
      return [...by].sort(([a], [b]) => a.localeCompare(b)).map(([title, rows]) => ({ title, rows }));
    });

    const sums = computed(() => {
      const counts = {};
      let hourly = 0;
      let today = 0;
      let saved = null;
      for (const row of all.value) {
        counts[row.leaving ? "leaving" : row.status] = (counts[row.leaving ? "leaving" : row.status] ?? 0) + 1;
        hourly += perHour(row);
        const spent = spentToday(board.spending.get(row.name));
        today += spent;
        const less = board.spending.get(row.name)?.[3];
        if (typeof less === "number") saved = (saved ?? 0) + less;
      }
      const awake = all.value.filter(isAwake).length;
      const errors = counts.error ?? 0;
      return { awake, asleep: all.value.length - awake - errors, errors, hourly, today, saved };
    });

    const everything = (verb) => {
      const rows = found.value.filter((row) => !row.leaving && (verb === "wake" ? !isAwake(row) && !row.paused : isUp(row) && row.status !== "stopping"));
      const these = rows.length === 1 ? "1 endpoint" : `${rows.length} endpoints`;
      const cost = rows.reduce((sum, row) => sum + (row.price_per_hour ?? 0) * row.replicas, 0);
      asking.value = {
        rows,
        verb,
        title: verb === "wake" ? `Wake ${these}?` : `Put ${these} to sleep?`,
        points:
          verb === "wake"
            ? [
                ["Cost", cost ? `Up to ${money(cost)} an hour more, until each sleeps again.` : "Their prices are not known."],
                ["Quota", "Each takes its hardware; what finds no room waits for it."],
                ["Undo", "Sleep all."],
              ]
            : [
                ["Cost", cost ? `Up to ${money(cost)} an hour less.` : "Their prices are not known."],
                ["Requests", "What is in flight or waits is answered first; nobody is cut."],
                ["Undo", "The next request wakes its endpoint, after a cold start."],
              ],
        yes: verb === "wake" ? "Wake all" : "Sleep all",
        busy: false,
        problem: null,
      };
    };
    const goOn = async () => {
      const question = asking.value;
      asking.value = { ...question, busy: true };
      const whole = found.value.length === all.value.length && !all.value.some((row) => row.paused);
      const failed = await (whole ? actions.everything(question.verb) : actions.allOf(question.verb, question.rows));
      for (const row of question.rows) actions.dismiss(row.name); // the question itself tells
      asking.value = failed ? { ...asking.value, busy: false, problem: failed } : null;
    };

    /** What speaks against the question that is open: a refusal, or that there is nothing left to ask about. */
    const objection = () => {
      const { name, problem } = actions.question.value;
      return problem ?? (board.rows.has(name) ? null : `There is no ${name} any more: it was taken out meanwhile.`);
    };

    const figure = (value, label, kind) => h("div", { class: ["figure", kind] }, [h("strong", value), h("span", label)]);
    const summary = () =>
      h("section", { class: "summary", "aria-label": "Now" }, [
        figure(String(sums.value.awake), "awake", sums.value.awake ? "lit" : ""),
        figure(String(sums.value.asleep), "asleep"),
        sums.value.errors ? figure(String(sums.value.errors), "with an error", "bad") : null,
        figure(money(sums.value.hourly), "an hour now"),
        figure(board.spendingProblem ? "–" : money(sums.value.today), "today"),
        sums.value.saved !== null ? figure(money(sums.value.saved), "saved today by sleeping") : null,
      ]);

    const tools = () =>
      h("section", { class: "tools", "aria-label": "Filter and order" }, [
        h("label", { class: "search" }, [
          h("span", { class: "hidden" }, "Filter by name, model, provider or status"),
          h("input", {
            type: "search",
            placeholder: "Filter: name, model, provider…",
            value: state.q,
            onInput: (event) => set("q", event.target.value),
          }),
        ]),
        h(Choice, { label: "Status", value: state.phase, options: [["", "all"], ...PHASES.map((one) => [one, one])], onPick: (value) => set("phase", value) }),
        h(Choice, { label: "Sort", value: state.sort, options: Object.entries(SORTS).map(([key, [label]]) => [key, label]), onPick: (value) => set("sort", value) }),
        h(Choice, { label: "Group", value: state.group, options: Object.entries(GROUPS).map(([key, [label]]) => [key, label]), onPick: (value) => set("group", value) }),
        h("div", { class: "switch", role: "group", "aria-label": "Show as" }, [
          h("button", { type: "button", "aria-pressed": String(!asTable.value), onClick: () => set("view", "cards") }, "Cards"),
          h("button", { type: "button", "aria-pressed": String(asTable.value), onClick: () => set("view", "table") }, "Table"),
        ]),
        h("div", { class: "all" }, [
          h("button", { type: "button", disabled: !found.value.some((row) => !isAwake(row) && !row.paused), onClick: () => everything("wake") }, "Wake all"),
          h("button", { type: "button", disabled: !found.value.some(isUp), onClick: () => everything("sleep") }, "Sleep all"),
        ]),
      ]);

    const one = (row) => ({ row, spending: board.spending.get(row.name) ?? null, actions, link: props.link, facts: props.facts });

    const list = () => {
      if (!found.value.length)
        return h("section", { class: "empty small" }, [
          h("p", "No endpoint fits this filter."),
          h("button", { type: "button", onClick: () => { set("q", ""); set("phase", ""); } }, "Show all"),
        ]);
      return h(Window, {
        groups: groups.value,
        table: asTable.value,
        headings: HEADINGS,
        draw: (row) => h(asTable.value ? Line : Card, { key: row.name, ...one(row) }),
        stamp: board.number,
      });
    };

    return () => {
      if (!board.loaded)
        return board.problem
          ? h("section", { class: "empty" }, [h("p", { class: "problem", role: "alert" }, `The endpoints could not be read: ${board.problem}.`), h("button", { type: "button", onClick: () => location.reload() }, "Try again")])
          : h("section", { class: "loading", "aria-busy": "true" }, h("p", { class: "quiet" }, "Looking…"));
      if (!all.value.length) return h(Empty, { keys: Boolean(props.facts.visitor) });
      return h("div", { class: "endpoints" }, [
        h("h1", { class: "hidden" }, "Endpoints"),
        summary(),
        board.spendingProblem && h("p", { class: "problem" }, `What was spent today is not known: ${board.spendingProblem}`),
        tools(),
        h("p", { class: "hidden", role: "status" }, `${found.value.length} of ${all.value.length} endpoints are shown.`),
        list(),
        h(Problems, { actions }),
        actions.question.value && h(Question, { ...actions.question.value, problem: objection(), onYes: actions.goOn, onNo: actions.cancel, key: "one" }),
        asking.value && h(Question, { ...asking.value, key: "all", onYes: goOn, onNo: () => (asking.value = null) }),
      ]);
    };
  },
};
