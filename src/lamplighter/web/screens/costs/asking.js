// What is asked of the books, and days: the words of the address as the routes know them.

/** What costs are told apart by: the word of the route, the word for people. */
export const BY = [
  ["endpoint", "endpoint"],
  ["key", "key"],
  ["tag", "tag"],
  ["provider", "provider"],
  ["route", "route"],
];

/** Periods by their first day, as the route takes it. */
export const PERIODS = [
  ["today", "today"],
  ["7d", "7 days"],
  ["30d", "30 days"],
  ["month", "this month"],
  ["year", "this year"],
  ["all", "all there is"],
];

/** What is in the address, and what it is without. */
export const DEFAULTS = { since: "30d", until: "", by: "endpoint", tag: "", endpoint: "", key: "", chart: "", whatif: "", idle: "" };

export const isDay = (text) => /^\d{4}-\d{2}-\d{2}$/.test(text);

/** The query for a report by these words. */
export function reportQuery(state, by, more = {}) {
  const query = new URLSearchParams({ by, ...period(state), ...more });
  if (state.endpoint) query.set("endpoint", state.endpoint);
  if (state.key) query.set("key", state.key);
  const isPair = state.tag.includes("=");
  if (state.tag && (isPair || by.split(",").includes("tag"))) query.set("tag", state.tag);
  return query.toString();
}

/** Since when, and until when. */
export const period = (state) => ({ since: state.since, ...(state.until && { until: state.until }) });

/** Seconds of a duration such as 5m, 90s or 1h30m, or of a number of seconds; null where it is none. */
export function seconds(text) {
  const word = text.trim().toLowerCase().replaceAll(" ", "");
  if (/^\d+(\.\d+)?$/.test(word)) return Number(word);
  if (!/^(\d+(\.\d+)?(d|h|m|min|s))+$/.test(word)) return null;
  const units = { d: 86400, h: 3600, m: 60, min: 60, s: 1 };
  return [...word.matchAll(/(\d+(?:\.\d+)?)(d|h|min|m|s)/g)].reduce((sum, [, number, unit]) => sum + number * units[unit], 0);
}

// Days are texts, 2026-11-01: they are the ledger's, in whatever zone the viewer is.

const at = (day) => new Date(`${day}T00:00:00Z`);
const text = (date) => date.toISOString().slice(0, 10);

/** The day of a moment in a zone. */
export function dayOf(unix, zone) {
  try {
    return new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" }).format(new Date(unix * 1000));
  } catch {
    return text(new Date(unix * 1000)); // a zone that this browser does not know
  }
}

/** The day so many days later. */
export const later = (day, days) => text(new Date(at(day).getTime() + days * 86400000));

/** How many days are from one to the other. */
export const between = (first, last) => Math.round((at(last) - at(first)) / 86400000);

const DAY = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
const SHORT = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
const MONTH = new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric", timeZone: "UTC" });

/** A day for people. */
export const dayName = (day) => DAY.format(at(day));
export const shortDay = (day) => SHORT.format(at(day));

/** How days are put together, so that each bar can still be seen: what a bar is, its first day, its name. */
export function steps(days) {
  if (days <= 92) return { each: "day", first: (day) => day, name: dayName };
  if (days <= 400)
    return { each: "week", first: (day) => later(day, -((at(day).getUTCDay() + 6) % 7)), name: (day) => `week of ${shortDay(day)}` };
  return { each: "month", first: (day) => `${day.slice(0, 7)}-01`, name: (day) => MONTH.format(at(day)) };
}
