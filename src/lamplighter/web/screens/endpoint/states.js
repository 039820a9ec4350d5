// What recorded changes of state say of a time: which spells there were, and who or what led to them. Pure.

const PHASE = {
  running: "running",
  updating: "starting",
  pending: "starting",
  initializing: "starting",
  paused: "sleeping",
  scaledToZero: "sleeping",
  failed: "error",
  updateFailed: "error",
};

/** The phase of a provider's state, as the REST calls it. */
export const phaseOfState = (state) => PHASE[state] ?? "unknown";

/** How it was when a time began: by the change before it, or by what the first one in it says. */
function first(history) {
  if (history.truncated) return { phase: "unseen", change: null }; // what lies between was not told
  if (history.before) return { phase: history.before.phase, change: history.before };
  const [change] = history.changes;
  return { phase: change?.before ? phaseOfState(change.before) : "unseen", change: null };
}

/**
 * The spells of a time, the oldest first: `{from, to, phase, change}`, `change` being what led to it. Where nobody looked, the
 * phase is "unseen". `now` bounds the last one.
 */
export function spells(history, now) {
  const end = Math.min(history.until, now);
  const found = [];
  let open = { from: history.since, ...first(history) };
  const close = (to) => {
    if (to > open.from) found.push({ ...open, to });
  };
  for (const change of history.changes) {
    const seen = change.before === null && change.seen_until !== null ? Math.max(open.from, change.seen_until) : change.at;
    if (seen < change.at) {
      close(seen);
      open = { from: seen, phase: "unseen", change: null };
    }
    if (change.phase === open.phase && change.before !== null) continue; // only its price, or a step of the same start
    close(change.at);
    open = { from: change.at, phase: change.after === null ? "unseen" : change.phase, change };
  }
  close(end);
  return found;
}

/** How many seconds of the spells were of each phase. */
export function sums(found) {
  const total = {};
  for (const one of found) total[one.phase] = (total[one.phase] ?? 0) + one.to - one.from;
  return total;
}

const NOBODY = "somebody without a key";

/** On whose account something was, in words. `names` are those of keys by their ids, where one may know them. */
export function who({ cause, actor, route }, names = new Map()) {
  const [kind, ...rest] = (cause ?? "").split(":");
  const id = rest.join(":");
  const by = route ? `, route ${route}` : "";
  if (kind === "key" && id) return `a request with key ${names.get(id) ?? id}${by}`;
  if (kind === "lease" && id) return `the lease of ${id}`;
  if (kind === "operator" && id) return id === "api" ? NOBODY : id;
  if (actor === "request") return `a request without a key${by}`;
  if (actor === "policy") return "its policy";
  if (actor === "api") return NOBODY;
  return actor || "not on record";
}
