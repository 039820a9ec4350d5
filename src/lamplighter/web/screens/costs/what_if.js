// What one endpoint would have cost always on, or at another idle timeout.
import { computed, h, onBeforeUnmount, ref, watch } from "vue";
import { Choice, askJson, count, money } from "lamplighter/assets/kit.js";
import { period, seconds } from "lamplighter/screens/costs/asking.js";

const LONGEST = 366 * 86400;

const dollars = (one) => {
  if (one.cost === null) return "–";
  const sign = { estimate: "≈ ", "at least": "≥ " }[one.basis] ?? "";
  return `${sign}${money(Number(one.cost))}`;
};

const signed = (number) => (number > 0 ? `+${count(number)}` : number < 0 ? `−${count(-number)}` : "0");

/** A timeout as it is set, not rounded: 90 s, 5 min, 1 h. */
function exactly(seconds) {
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"]].find(([one]) => seconds >= one && seconds % one === 0) ?? [1, "s"];
  return `${seconds / size} ${unit}`;
}

/** The rows: a title, what it comes to, and whether it is how it is set. */
function rowsOf(told) {
  const rows = [{ title: "as it was", ...told.as_it_was, kind: "was" }, { title: "always on", ...told.always_on }];
  return [...rows, ...told.timeouts.map((one) => ({ title: `sleeps after ${exactly(one.idle_timeout)}`, ...one }))];
}

function difference(row, was) {
  if (row.kind === "was" || row.cost === null || was.cost === null) return "";
  const more = Number(row.cost) - Number(was.cost);
  if (Math.abs(more) < 0.005) return money(0); // an estimate is no better than that
  return `${more < 0 ? "−" : "+"}${money(Math.abs(more))}`;
}

const Table = (props) => {
  const { told } = props;
  const rows = rowsOf(told);
  const most = Math.max(...rows.map((row) => Number(row.cost ?? 0)), 0);
  return h("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": `What ${told.endpoint} would have cost` }, [
    h("table", [
      h("caption", { class: "hidden" }, `What ${told.endpoint} has cost, and would have cost otherwise`),
      h("thead", h("tr", ["what if", "cost", "than it was", "cold starts", "than as set"].map((label, at) => h("th", { scope: "col", class: at ? "number" : undefined }, label)))),
      h(
        "tbody",
        rows.map((row) =>
          h("tr", { key: row.title, class: { own: row.is_own || row.kind === "was" } }, [
            h("th", { scope: "row" }, [
              h("span", { class: "name" }, [row.title, row.is_own ? h("span", { class: "quiet" }, " · as it is set") : null]),
              h("span", { class: ["split", row.basis], "aria-hidden": "true", style: { width: most && row.cost !== null ? `${Math.max(0.5, (Number(row.cost) / most) * 100)}%` : "0" } }),
            ]),
            h("td", { class: "number strong", title: row.why || undefined }, dollars(row)),
            h("td", { class: "number" }, difference(row, told.as_it_was)),
            h("td", { class: "number" }, row.cold_starts === undefined ? "" : count(row.cold_starts)),
            h("td", { class: "number" }, row.more_cold_starts === undefined ? "" : signed(row.more_cold_starts)),
          ]),
        ),
      ),
    ]),
  ]);
};
Table.props = ["told"];

/** Asks as its endpoint, period or idle timeout changes. */
export const WhatIf = {
  props: ["state", "set", "names", "usual"],
  setup(props) {
    const told = ref(null);
    const problem = ref(null);
    const typed = ref(props.state.idle);
    let asking = null;

    const endpoint = computed(() => props.state.whatif || (props.names.includes(props.state.endpoint) && props.state.endpoint) || props.usual || "");
    const timeout = computed(() => {
      if (!props.state.idle) return null;
      const given = seconds(props.state.idle);
      return given === null || given > LONGEST ? undefined : given;
    });
    const load = async () => {
      asking?.abort();
      if (!endpoint.value || timeout.value === undefined) return;
      const mine = (asking = new AbortController());
      const query = new URLSearchParams({ endpoint: endpoint.value, ...period(props.state) });
      if (timeout.value !== null) query.set("idle_timeout", timeout.value);
      try {
        told.value = await askJson("GET", `/api/cost/what-if?${query}`, { signal: mine.signal });
        problem.value = null;
      } catch (error) {
        if (error.name !== "AbortError") problem.value = error.message;
      }
    };
    watch([endpoint, timeout, () => props.state.since, () => props.state.until], load, { immediate: true });
    watch(() => props.state.idle, (now) => (typed.value = now));
    onBeforeUnmount(() => asking?.abort());

    const tools = () =>
      h("form", { class: "tools", onSubmit: (event) => { event.preventDefault(); props.set("idle", typed.value.trim()); } }, [
        h(Choice, { label: "Endpoint", value: endpoint.value, options: [...new Set([endpoint.value, ...props.names])].map((name) => [name, name]), onPick: (name) => props.set("whatif", name) }),
        h("label", { class: "choice" }, [
          h("span", "Idle timeout"),
          h("input", { class: "idle", value: typed.value, placeholder: "5m, 90s, 2h", autocomplete: "off", spellcheck: "false", "aria-invalid": timeout.value === undefined ? "true" : undefined, "aria-describedby": timeout.value === undefined ? "idle-problem" : undefined, onInput: (event) => (typed.value = event.target.value) }),
        ]),
        h("button", { type: "submit" }, "Try it"),
      ]);

    const answer = () => {
      if (problem.value)
        return h("p", { class: "problem", role: "alert" }, [`${problem.value} `, h("button", { type: "button", class: "plain", onClick: load }, "Try again")]);
      if (!told.value) return h("p", { class: "quiet" }, "Playing the requests again…");
      return [
        h(Table, { told: told.value }),
        h("details", [
          h("summary", [`≈ is an estimate from ${count(told.value.requests)} ${told.value.requests === 1 ? "request" : "requests"} since ${told.value.since}: what it assumes`]),
          h("ul", told.value.assumptions.map((one) => h("li", one))),
        ]),
      ];
    };

    return () =>
      h("section", { class: "part what-if", "aria-labelledby": "what-if" }, [
        h("header", [h("h2", { id: "what-if" }, "What if"), h("span", { class: "quiet" }, "The same requests, had it slept sooner, later or never.")]),
        props.names.length || endpoint.value
          ? [
              tools(),
              timeout.value === undefined ? h("p", { class: "problem", role: "alert", id: "idle-problem" }, `${props.state.idle} should be a duration such as 5m, 90s or 1h30m, at most 366 days.`) : null,
              answer(),
            ]
          : h("p", { class: "quiet" }, "There is no endpoint to ask about."),
      ]);
  },
};
