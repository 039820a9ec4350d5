// One endpoint: how it is and was, who woke it, what its requests took, what its engine says, and what it was told to be.
import { computed, h, onBeforeUnmount, onMounted, ref, shallowRef, watch } from "vue";
import { Choice, Lamp, Menu, Question, askJson, duration, moment, money, phaseOf, useQuery } from "lamplighter/assets/kit.js";
import { board, clock, serverNow } from "lamplighter/assets/live.js";
import { Problems, useActions } from "lamplighter/screens/endpoints/actions.js";
import { Progress, nextThing, price, priceSource } from "lamplighter/screens/endpoints/figures.js";
import { isAwake, spentToday } from "lamplighter/screens/endpoints/order.js";
import { long, shortMoment, took } from "lamplighter/screens/endpoint/axis.js";
import { Requests } from "lamplighter/screens/endpoint/charts.js";
import { Log } from "lamplighter/screens/endpoint/log.js";
import { Specification } from "lamplighter/screens/endpoint/specification.js";
import { phaseOfState, spells, who } from "lamplighter/screens/endpoint/states.js";
import { Timeline } from "lamplighter/screens/endpoint/timeline.js";
import { Trouble, troubleOf } from "lamplighter/screens/endpoint/trouble.js";

const HOUR = 3600;
const DAY = 24 * HOUR;
const SPANS = { hour: ["an hour", HOUR], day: ["a day", DAY], week: ["a week", 7 * DAY], month: ["a month", 30 * DAY] };
const TABS = { "": "Past", log: "Log", specification: "Specification" };
const LOOK_EVERY = 15_000; // ms; requests are recorded once a second, and summed up for a month
const SETTLE = 700; // ms after a change of state until its record can be read
const FEW = 12; // rows of a table that are shown at first

/** What was recorded of a time, read anew when something happens. */
function usePast(name, span, until, isAdmin) {
  const past = shallowRef(null);
  const problem = ref(null);
  const names = shallowRef(new Map()); // of keys, by id
  let asked = 0;
  let timer = null;

  async function load() {
    const mine = (asked += 1);
    const end = until() ?? serverNow();
    const query = `since=${(end - span()).toFixed(3)}&until=${end.toFixed(3)}`;
    const path = `/api/endpoints/${encodeURIComponent(name)}`;
    try {
      const failed = isAdmin ? askJson("GET", `/api/audit?endpoint=${encodeURIComponent(name)}&success=false&${query}&limit=50`) : null;
      const [history, requests, audit] = await Promise.all([askJson("GET", `${path}/history?${query}&limit=5000`), askJson("GET", `${path}/requests?${query}`), failed]);
      if (mine !== asked) return;
      past.value = { history, requests, refused: audit?.entries ?? null };
      problem.value = null;
    } catch (error) {
      if (mine === asked) problem.value = { status: error.status, text: error.message };
    }
  }
  const soon = (after = SETTLE) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (!document.hidden) load(); // nobody looks: it is read when somebody does again
      soon(LOOK_EVERY);
    }, after);
  };
  const shown = () => document.hidden || soon(0);
  const again = () => soon(0);
  onMounted(() => {
    again();
    document.addEventListener("visibilitychange", shown);
    if (isAdmin)
      askJson("GET", "/api/keys")
        .then((found) => (names.value = new Map((found.keys ?? []).map((key) => [key.id, key.name]))))
        .catch(() => {}); // their ids say it too
  });
  onBeforeUnmount(() => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", shown);
    asked += 1;
  });
  return { past, problem, names, soon, again };
}

/** A table of which the rest is shown on demand. */
const Rows = {
  props: ["label", "heads", "rows"],
  setup(props) {
    const all = ref(false);
    return () => {
      const shown = all.value ? props.rows : props.rows.slice(0, FEW);
      const more = props.rows.length - shown.length;
      return [
        h("div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": props.label }, [
          h("table", [
            h("caption", { class: "hidden" }, props.label),
            h("thead", h("tr", props.heads.map((one) => h("th", { scope: "col" }, one)))),
            h("tbody", shown.map((row) => h("tr", { key: row.key }, row.cells.map((cell, at) => (at ? h("td", cell) : h("th", { scope: "row" }, cell)))))),
          ]),
        ]),
        more > 0 ? h("button", { type: "button", class: "plain", onClick: () => (all.value = true) }, `Show ${more} more`) : null,
      ];
    };
  },
};

const Starts = (props) => {
  const newest = [...props.starts].reverse();
  if (!newest.length) return h("p", { class: "quiet" }, "None in this time.");
  const longest = Math.max(...newest.map((one) => one.duration));
  const rows = newest.map((one, at) => ({
    key: `${one.at} ${at}`,
    cells: [
      h("time", { title: moment(one.at) }, shortMoment(one.at)),
      h("span", { class: "length" }, [h("span", { class: "number" }, took(one.duration)), h("span", { class: "track", "aria-hidden": "true" }, h("span", { style: { width: `${(100 * one.duration) / longest}%` } }))]),
      who(one, props.names),
      one.reason || "–",
    ],
  }));
  return h(Rows, { label: "Cold starts", heads: ["Ready", "Took", "Woken by", "Why"], rows });
};
Starts.props = ["starts", "names"];

const stateWord = (state) => (state === null ? "not known" : state);

const Changes = (props) => {
  const rows = [...props.changes].reverse().map((one, at) => ({
    key: `${one.at} ${at}`,
    cells: [
      h("time", { title: moment(one.at) }, shortMoment(one.at)),
      h("span", { class: ["to", one.phase] }, `${stateWord(one.before)} → ${one.after === null ? "gone" : stateWord(one.after)}`),
      one.duration === null ? "–" : long(one.duration),
      who(one, props.names),
      `${one.reason}${one.message ? `: ${one.message.slice(0, 500)}` : ""}`,
    ],
  }));
  return h("details", { class: "figures" }, [
    h("summary", `Changes of state as a table (${rows.length})`),
    rows.length ? h(Rows, { label: "Changes of state", heads: ["When", "State", "It had lasted", "On account of", "Why"], rows }) : h("p", { class: "quiet" }, "None in this time."),
  ]);
};
Changes.props = ["changes", "names"];

/** What went wrong, the newest first: failures of its own, and what was asked of its provider in vain. */
function errorsOf(history, refused, names) {
  const failed = history.changes.filter((one) => one.phase === "error").map((one) => ({ at: one.at, what: one.message ?? one.reason, by: who(one, names) }));
  const vain = (refused ?? []).map((one) => ({ at: one.at, what: `${one.operation}: ${one.error ?? "it failed"}`, by: one.actor }));
  return [...failed, ...vain].sort((a, b) => b.at - a.at);
}

const Errors = (props) => {
  const all = props.errors;
  if (!all.length) return null;
  const rows = all.map((one, at) => ({ key: `${one.at} ${at}`, cells: [h("time", { title: moment(one.at) }, shortMoment(one.at)), h("span", { class: "told" }, one.what), one.by] }));
  return h("section", { class: "part" }, [h("h2", "Errors"), h(Rows, { label: "Errors", heads: ["When", "What", "By"], rows })]);
};
Errors.props = ["errors"];

/** Who or what led to it being awake, as far as the record of the time tells. */
function wokenBy(history, names) {
  const all = history.before ? [history.before, ...history.changes] : history.changes;
  const last = all.at(-1);
  if (!last || !["running", "starting"].includes(last.phase)) return null;
  const asleep = all.findLastIndex((one) => !["running", "starting"].includes(one.phase) || (one.before !== null && ["sleeping", "error"].includes(phaseOfState(one.before))));
  const first = asleep < 0 ? all[0] : (["running", "starting"].includes(all[asleep].phase) ? all[asleep] : all[asleep + 1]);
  return first && (first.cause || first.actor) ? `${who(first, names)}, ${moment(first.at)}` : null;
}

const Facts = (props) => {
  const { row, spending, woken } = props;
  const facts = [
    ["model", row.model ?? row.engine],
    ["at", `${row.provider}${row.replicas > 1 ? `, ${row.replicas} replicas` : ""}`],
    ["in flight", String(row.in_flight)],
    ["waiting", String(row.waiting)],
    [row.billed ? "an hour" : "an hour awake", price(row), priceSource(row)],
    ["today", spending ? money(spentToday(spending)) : "–", spending ? `cold start ${money(spending[0])}, serving ${money(spending[1])}, idle ${money(spending[2])}` : undefined],
    ["saved today", spending && spending[3] !== null ? money(spending[3]) : "–"],
    ["sleeps after", row.idle_timeout == null ? "never by itself" : `${duration(row.idle_timeout)} idle`],
    ["a start takes", row.expected_start ? `about ${took(row.expected_start)}` : "not known yet"],
    row.last_activity ? ["last used", `${duration(Math.max(0, clock.now - row.last_activity))} ago`, moment(row.last_activity)] : null,
    row.held_by?.length ? ["kept awake by", row.held_by.join(", ")] : null,
    row.aliases?.length ? ["also called", row.aliases.join(", ")] : null,
    woken ? ["woken by", woken] : null,
  ];
  return h("dl", { class: "facts" }, facts.filter(Boolean).map(([term, what, title]) => h("div", { key: term, title }, [h("dt", term), h("dd", what)])));
};
Facts.props = ["row", "spending", "woken"];

const One = {
  props: ["name", "facts", "link", "state", "set"],
  setup(props) {
    const actions = useActions(props.facts);
    const row = computed(() => (board.number, board.rows.get(props.name)));
    const span = () => (SPANS[props.state.span] ?? SPANS.day)[1];
    const until = () => {
      const given = Number(props.state.until);
      return props.state.until && Number.isFinite(given) ? given : null;
    };
    const isAdmin = props.facts.role === "admin";
    const { past, problem, names, soon, again } = usePast(props.name, span, until, isAdmin);
    watch(() => `${row.value?.status} ${row.value?.paused} ${row.value?.sleep_time}`, () => soon());
    watch(() => [props.state.span, props.state.until], again);

    const found = computed(() => past.value && spells({ ...past.value.history, until: until() ?? clock.now }, clock.now));
    const shift = (by) => {
      const end = Math.round((until() ?? serverNow()) + by * span());
      props.set("until", end >= serverNow() - 5 ? "" : String(end));
    };

    const head = () => {
      const one = row.value;
      const phase = phaseOf(one);
      const first = actions.first(one);
      const busy = actions.pending.get(one.name);
      return h("header", { class: ["head", phase] }, [
        h("h1", [h(Lamp, { phase }), h("span", { class: "name" }, one.name)]),
        h("p", { class: "state" }, [h("strong", { class: "phase" }, phase), h("span", nextThing(one))]),
        h("div", { class: "doing" }, [
          first && h("button", { type: "button", class: "first", "aria-label": `${first.label} ${one.name}`, disabled: Boolean(busy), onClick: first.run }, busy ? "…" : first.label),
          h(Menu, { label: `More for ${one.name}`, items: () => actions.items(one) }),
        ]),
        one.status === "starting" ? h(Progress, { row: one }) : null,
      ]);
    };
    const tab = (key, label) => h("button", { type: "button", key, "aria-pressed": String(props.state.tab === key), onClick: () => props.set("tab", key) }, label);
    const tools = () =>
      h("div", { class: "tools span" }, [
        h(Choice, { label: "Over", value: props.state.span in SPANS ? props.state.span : "day", options: Object.entries(SPANS).map(([key, [label]]) => [key, label]), onPick: (value) => props.set("span", value) }),
        h("div", { class: "switch", role: "group", "aria-label": "Go in time" }, [
          h("button", { type: "button", onClick: () => shift(-1) }, "Earlier"),
          h("button", { type: "button", disabled: until() === null, onClick: () => shift(1) }, "Later"),
          h("button", { type: "button", disabled: until() === null, onClick: () => props.set("until", "") }, "Now"),
        ]),
        past.value ? h("span", { class: "quiet" }, `${shortMoment(past.value.history.since)} – ${until() === null ? "now" : shortMoment(until())}`) : null,
      ]);
    const pastTab = () => {
      if (!past.value)
        return problem.value
          ? h("section", [h("p", { class: "problem", role: "alert" }, `Its past could not be read: ${problem.value.text}`), h("button", { type: "button", onClick: again }, "Try again")])
          : h("p", { class: "quiet", "aria-busy": "true" }, "Looking…");
      const { history, requests, refused } = past.value;
      const end = until() ?? Math.max(clock.now, history.until);
      const errors = errorsOf(history, refused, names.value);
      return h("div", { class: "past" }, [
        problem.value ? h("p", { class: "problem" }, `This is as it was: ${problem.value.text}`) : null,
        h("section", { class: "part" }, [
          h("h2", "States"),
          h(Timeline, { spells: found.value, since: end - span(), until: end, names: names.value, errors }),
          history.truncated ? h("p", { class: "quiet" }, "Only the newest changes are shown: there were more than 5,000.") : null,
          h(Changes, { changes: history.changes, names: names.value }),
        ]),
        h(Errors, { errors }),
        h("section", { class: "part" }, [h("h2", "Requests"), h(Requests, { found: requests })]),
        h("section", { class: "part" }, [
          h("h2", [`Cold starts`, history.starts.length ? h("span", { class: "quiet" }, ` · ${history.starts.length}, ${took(history.starts.reduce((sum, one) => sum + one.duration, 0))} in all`) : null]),
          h(Starts, { starts: history.starts, names: names.value }),
        ]),
      ]);
    };
    const body = () => {
      if (props.state.tab === "log") return h(Log, { name: props.name });
      if (props.state.tab === "specification") return h(Specification, { name: props.name, facts: props.facts });
      return [tools(), pastTab()];
    };
    return () => {
      const one = row.value;
      const trouble = troubleOf(one);
      const woken = isAwake(one) && past.value && until() === null ? wokenBy(past.value.history, names.value) : null;
      return [
        head(),
        trouble
          ? h(Trouble, { trouble, first: actions.first(one), onLog: props.state.tab === "log" ? null : () => props.set("tab", "log") })
          : one.message && one.status !== "running"
            ? h("p", { class: "message" }, one.message)
            : null,
        h(Facts, { row: one, spending: board.spending.get(one.name) ?? null, woken }),
        h("div", { class: "switch tabs", role: "group", "aria-label": "What to look at" }, Object.entries(TABS).map(([key, label]) => tab(key, label))),
        body(),
        h(Problems, { actions }),
        actions.question.value && h(Question, { ...actions.question.value, onYes: actions.goOn, onNo: actions.cancel }),
      ];
    };
  },
};

const Absent = (props) => {
  const other = [...board.rows.values()].find((row) => row.aliases?.includes(props.name));
  return h("section", { class: "empty" }, [
    h("h1", props.wasThere ? `${props.name} is gone` : `There is no endpoint ${props.name}`),
    h("p", { role: "status" }, props.wasThere ? "It was deleted, or taken out of the configuration, while you looked at it. What it has cost stays on record." : "It may have been deleted, or have another name now."),
    other ? h("p", ["That name leads to ", props.link(`/endpoint/${encodeURIComponent(other.name)}`, {}, other.name), "."]) : null,
    h("p", props.link("/", {}, "All endpoints")),
  ]);
};
Absent.props = ["name", "wasThere", "link"];

export default {
  props: ["facts", "parameter", "go", "link"],
  setup(props) {
    const { state, set } = useQuery({ tab: "", span: "day", until: "" });
    const seen = ref(null); // the name that was there while this was open
    const isThere = computed(() => (board.number, board.rows.has(props.parameter)));
    watch([isThere, () => props.parameter], ([there, name]) => there && (seen.value = name), { immediate: true });
    return () => {
      if (!board.loaded)
        return board.problem
          ? h("section", { class: "empty" }, [h("p", { class: "problem", role: "alert" }, `The endpoints could not be read: ${board.problem}.`), h("button", { type: "button", onClick: () => location.reload() }, "Try again")])
          : h("section", { class: "loading", "aria-busy": "true" }, h("p", { class: "quiet" }, "Looking…"));
      if (!isThere.value) return h(Absent, { name: props.parameter, wasThere: seen.value === props.parameter, link: props.link });
      return h("div", { class: "endpoint" }, [
        h("p", { class: "back" }, props.link("/", {}, "← All endpoints")),
        h(One, { key: props.parameter, name: props.parameter, facts: props.facts, link: props.link, state, set }),
      ]);
    };
  },
};
