// Filtering, sorting and grouping of rows. Pure.
import { phaseOf } from "lamplighter/assets/kit.js";

export const PHASES = ["running", "starting", "stopping", "sleeping", "paused", "error", "unknown"];

const RANK = { error: 0, starting: 1, running: 2, stopping: 3, unknown: 4, sleeping: 5, paused: 6, leaving: 7 };
const AWAKE = new Set(["running", "starting", "stopping"]);
const ASLEEP = new Set(["scaledToZero", "paused", undefined]);

/** Whether it serves, or is on its way there or back. */
export const isAwake = (row) => AWAKE.has(row.status);

/** Whether its provider has anything of it that can be put out. */
export const isUp = (row) => isAwake(row) || !ASLEEP.has(row.state);

/** What it costs an hour now, in $. */
export const perHour = (row) => (row.billed ? (row.price_per_hour ?? 0) * Math.max(row.replicas_ready, 1) : 0);

/** What it cost today, in $. */
export const spentToday = (spending) => (spending ? spending[0] + spending[1] + spending[2] : 0);

const byName = (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
const soonest = (row) => row.sleeps_at ?? Infinity;

/** By key: what it is called, and how two rows compare. */
export const SORTS = {
  status: ["awake first", (a, b) => RANK[phaseOf(a)] - RANK[phaseOf(b)] || byName(a, b)],
  name: ["name", byName],
  sleeps: ["sleeps next", (a, b) => (soonest(a) === soonest(b) ? byName(a, b) : soonest(a) - soonest(b))],
  price: ["$ an hour", (a, b) => perHour(b) - perHour(a) || (b.price_per_hour ?? 0) - (a.price_per_hour ?? 0) || byName(a, b)],
  busy: ["in flight", (a, b) => b.in_flight + b.waiting - a.in_flight - a.waiting || byName(a, b)],
  used: ["last used", (a, b) => (b.last_activity ?? 0) - (a.last_activity ?? 0) || byName(a, b)],
};

/** By key: what it is called, and what a row belongs to. */
export const GROUPS = {
  "": ["nothing"],
  provider: ["provider", (row) => row.provider],
  status: ["status", phaseOf],
  engine: ["engine", (row) => row.engine],
};

/** Whether a row has all the words somewhere, and the phase. */
export function matches(row, words, phase) {
  if (phase && phaseOf(row) !== phase) return false;
  if (!words.length) return true;
  const text = `${row.name} ${row.model ?? ""} ${row.provider} ${row.engine} ${phaseOf(row)} ${row.aliases.join(" ")}`.toLowerCase();
  return words.every((word) => text.includes(word));
}
