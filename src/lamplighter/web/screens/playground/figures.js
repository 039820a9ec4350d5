// What an answer took and cost. Times are as seen from this browser, but for the wait, which the server tells.
import { h, reactive } from "vue";
import { askJson, clockTime, count, duration } from "lamplighter/assets/kit.js";
import { board, clock } from "lamplighter/assets/live.js";
import { Progress } from "lamplighter/screens/endpoints/figures.js";
import { isOver } from "lamplighter/screens/playground/run.js";

const small = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD", maximumSignificantDigits: 3 });
const large = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });

/** Dollars of a single answer: mostly far less than a cent, and still a figure. */
export const dollars = (amount) => (amount === 0 || amount >= 1 ? large : small).format(amount);

/** A short time: 0.04 s, 1.2 s, then as everywhere. */
const seconds = (value) => (value < 0.1 ? `${Math.round(value * 1000)} ms` : duration(value < 10 ? Math.round(value * 100) / 100 : value));

/** The endpoint's row on the board, by its name or an alias of it. */
export function rowOf(name) {
  void board.number; // the map is changed in place
  const row = board.rows.get(name);
  return row ?? [...board.rows.values()].find((one) => one.aliases?.includes(name)) ?? null;
}

// What upstreams charge by use, as /api/pricing tells, by the upstream's name.
const charged = reactive(new Map());

/** Learn what a target charges by use. Nothing is asked for endpoints: their price is on the board. */
export async function learnPrice(target) {
  if (!target || board.rows.has(target) || charged.get(target)?.known) return;
  try {
    const page = await askJson("GET", `/api/pricing?kind=model&counts=true&provider=${encodeURIComponent(target)}`);
    const of = (unit) => page.prices.find((one) => one.subject === target && one.unit === unit) ?? null;
    charged.set(target, { known: true, input: of("million_tokens_in"), output: of("million_tokens_out") });
  } catch (error) {
    charged.set(target, { known: false, problem: error.message });
  }
}

function costByUse(run) {
  const price = charged.get(run.target);
  if (!price) return { text: "…" };
  if (!price.known) return { text: "–", why: `Its price could not be read: ${price.problem}` };
  if (!price.input || !price.output) return { text: "–", why: `No price is known of ${run.target}; give one in the configuration.` };
  if (run.tokensIn === null) return { text: "–", why: isOver(run) ? "The answer did not tell its tokens." : "Told at the end of the answer." };
  const amount = (run.tokensIn * Number(price.input.amount) + (run.tokensOut ?? 0) * Number(price.output.amount)) / 1e6;
  const estimate = price.input.estimate || price.output.estimate;
  const why = `${count(run.tokensIn)} tokens in at $${price.input.amount} and ${count(run.tokensOut ?? 0)} out at $${price.output.amount} a million (${price.input.source}${estimate ? ", an estimate" : ""})`;
  return { text: (estimate ? "≈ " : "") + dollars(amount), why, note: estimate ? "estimate" : null };
}

function costByTime(run, row) {
  if (row.price_per_hour == null) return { text: "–", why: `No price is known of ${row.name}; give one in the configuration.` };
  if (run.waited === null) return { text: "–", why: "How long it waited was not told, so neither how long it was served." };
  const hourly = row.price_per_hour * row.replicas;
  const served = Math.max(0, ((run.endedAt ?? performance.now()) - run.began) / 1000 - run.waited);
  const why = `${seconds(served)} of serving at ${dollars(hourly)} an hour. Requests at the same time share it; start and idle time are not in it.`;
  return { text: `≈ ${dollars((hourly * served) / 3600)}`, why, note: "estimate" };
}

/** What the answer cost, as far as can be told: `text`, `why`, and `note` where it is an estimate. */
export function costOf(run) {
  if (!run.target) return { text: "–", why: "It is not told who answered." };
  if (run.status >= 400) return { text: "–", why: "Nothing was answered." };
  if (!isOver(run)) return { text: "…" };
  const row = rowOf(run.target);
  return row ? costByTime(run, row) : costByUse(run);
}

const AT_ONCE = 0.05; // seconds: what came within them came in one go, and tells no speed

/** Tokens a second from the first to the last; null where there is nothing to measure. */
export function speedOf(run) {
  const told = run.tokensOut !== null;
  const number = told ? run.tokensOut : run.pieces;
  const took = (run.lastAt - run.firstAt) / 1000;
  return run.firstAt === null || number < 2 || took < AT_ONCE ? null : { value: (number - 1) / took, told };
}

const FALLBACKS = {
  target_waking: "the first one was asleep",
  target_left_alone: "the first one kept failing",
  endpoint_paused: "the first one is paused",
  wake_timeout: "the first one did not wake in time",
  wake_failed: "the first one could not be woken",
  rate_limited: "the first one had too many requests",
  upstream_unreachable: "the first one could not be reached",
};

const figure = (label, value, title, note) => h("div", { title, key: label }, [h("dt", label), h("dd", [value, note && h("span", { class: "quiet" }, ` ${note}`)])]);

/** The figures of a run, as a list. `tokens`: whether it writes tokens as they come. */
export const Figures = (props) => {
  const { run } = props;
  if (run.status === null) return null;
  if (run.state === "failed")
    return h("div", { class: "play-figures" }, h("dl", { "aria-label": "What this took" }, [run.target && figure("meant for", run.target, run.requestId ? `Request ${run.requestId}` : undefined), figure("in all", seconds((run.endedAt - run.began) / 1000), "As measured here, the wait included.")]));
  const cost = costOf(run);
  const speed = props.tokens ? speedOf(run) : null;
  const tokens = [run.tokensIn !== null && `${count(run.tokensIn)} in`, run.tokensOut !== null && `${count(run.tokensOut)} out`].filter(Boolean).join(", ");
  return h("div", { class: "play-figures" }, [
    h("dl", { "aria-label": "What this answer took" }, [
      figure("answered by", run.target ?? "–", run.requestId ? `Request ${run.requestId}` : undefined, run.fallback && `instead: ${FALLBACKS[run.fallback] ?? run.fallback}`),
      figure("wait", run.waited === null ? "–" : seconds(run.waited), run.waited === null ? "The server did not tell: its words about the wait came before the answer." : "How long the server held the request.", run.limit && `at most ${duration(Number(run.limit))} here`),
      props.tokens && figure("first token", run.firstAt === null ? "–" : seconds((run.firstAt - run.began) / 1000), "From sending to the first piece of text, the wait included, as measured here."),
      props.tokens && figure("tokens/s", speed ? `${speed.told ? "" : "≈ "}${speed.value.toFixed(speed.value < 10 ? 1 : 0)}` : "–", speed && !speed.told ? "Pieces of text a second: how many tokens they are was not told." : "From the first to the last, as measured here."),
      figure("in all", isOver(run) ? seconds((run.endedAt - run.began) / 1000) : "…", "As measured here, the wait included."),
      figure("tokens", tokens || "–", tokens ? "As the answer told." : "The answer did not tell them."),
      figure("cost", cost.text, cost.why, cost.note),
    ]),
    run.choice && h("p", { class: "quiet choice-told", title: "What this request was expected to cost at each target ($), the first choice first: x-lamplighter-choice." }, `choice: ${run.choice}`),
  ]);
};
Figures.props = ["run", "tokens"];

/** What is known of a request that nobody answered yet. */
export const Waiting = (props) => {
  const { run, model } = props;
  void clock.now; // once a second
  const since = clockTime((performance.now() - run.began) / 1000);
  const row = props.row;
  const words = () => {
    if (run.note) return run.note;
    if (run.state === "answering") return "reads the request";
    if (!row) return "no answer yet";
    if (row.status === "starting") return row.expected_start && row.started_at ? `${row.name} is starting: ${clockTime(Math.max(0, clock.now - row.started_at))} of about ${clockTime(row.expected_start)}` : `${row.name} is starting`;
    if (row.status === "sleeping") return `${row.name} is asleep: this wakes it`;
    if (row.status === "running") return `${row.name} is awake`;
    return `${row.name}: ${row.status}`;
  };
  return h("div", { class: "play-waiting" }, [h("p", words()), h("p", { class: "hidden", role: "status" }, row ? `${row.name}: ${row.status}` : "Waits for an answer"), h("p", { class: "quiet" }, `${since} since it was sent to ${model}`), row && h(Progress, { row })]);
};
Waiting.props = ["run", "row", "model"];
