// What a card and a line of the table both say of an endpoint.
import { h } from "vue";
import { clockTime, duration, money, moment, phaseOf } from "lamplighter/assets/kit.js";
import { clock } from "lamplighter/assets/live.js";

/** What will happen next, or is happening, in a few words. */
export function nextThing(row) {
  if (row.leaving) return "is being taken out";
  if (row.status === "starting") {
    if (!row.started_at) return "";
    const took = Math.max(0, clock.now - row.started_at);
    return row.expected_start ? `${clockTime(took)} of about ${clockTime(row.expected_start)}` : `since ${clockTime(took)}`;
  }
  if (row.paused) return "nothing wakes it";
  if (row.status === "running") {
    if (row.sleeps_at) return `sleeps in ${clockTime(row.sleeps_at - clock.now)}`;
    if (row.held_by.length) return `held by ${row.held_by.join(", ")}`;
    return row.idle_timeout == null ? "never sleeps by itself" : "";
  }
  if (row.status === "sleeping") return row.last_activity ? `used ${duration(Math.max(0, clock.now - row.last_activity))} ago` : "not used yet";
  return "";
}

/** How far a start is, 0 to 1; null where nobody knows. It never looks finished before it is. */
export function progress(row) {
  if (row.status !== "starting" || !row.started_at || !row.expected_start) return null;
  return Math.min(0.97, Math.max(0, clock.now - row.started_at) / row.expected_start);
}

/** A bar for a start, named for who can't see it. */
export const Progress = (props) => {
  const part = progress(props.row);
  if (props.row.status !== "starting") return null;
  return h(
    "div",
    {
      class: ["progress", part === null && "unknown"],
      role: "progressbar",
      "aria-label": `${props.row.name} is starting`,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": part === null ? undefined : Math.round(part * 100),
    },
    h("span", { style: { width: part === null ? "30%" : `${part * 100}%` } }),
  );
};
Progress.props = ["row"];

/** The hourly price, and whether it is one that may differ. */
export function price(row) {
  if (row.price_per_hour == null) return "–";
  return `${row.price_estimate ? "≈ " : ""}${money(row.price_per_hour * row.replicas)}`;
}

/** Where a price comes from, for a title. */
export const priceSource = (row) =>
  row.price_per_hour == null ? "No price is known; give one in the configuration." : `${row.price_source}${row.price_estimate ? ", an estimate" : ""}${row.replicas > 1 ? `, ${row.replicas} replicas` : ""}`;

/** When the moments of a row were, for a title. */
export const history = (row) =>
  [row.wake_time && `last awake ${moment(row.wake_time)}`, row.sleep_time && `last asleep ${moment(row.sleep_time)}`, row.last_activity && `last used ${moment(row.last_activity)}`].filter(Boolean).join("\n") || undefined;

/** The phase as a word. */
export const phaseWord = (row) => phaseOf(row);
