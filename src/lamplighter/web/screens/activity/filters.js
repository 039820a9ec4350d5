// What of the audit log is asked for, as it stands in the address. Pure.

export const DEFAULTS = { endpoint: "", actor: "", operation: "", success: "", when: "", since: "", until: "" };

export const SPANS = [
  ["", "any time"],
  ["1h", "the last hour"],
  ["24h", "the last 24 hours"],
  ["7d", "the last 7 days"],
  ["30d", "the last 30 days"],
  ["between", "between…"],
];

const SECONDS = { "1h": 3600, "24h": 86400, "7d": 604800, "30d": 2592000 };

/** The query of GET /api/audit; `now` is the server's time. */
export function queryOf(state, now) {
  const query = new URLSearchParams();
  for (const key of ["endpoint", "actor", "operation"]) if (state[key].trim()) query.set(key, state[key].trim());
  if (state.success === "true" || state.success === "false") query.set("success", state.success);
  if (SECONDS[state.when]) query.set("since", String(Math.floor(now - SECONDS[state.when])));
  if (state.when === "between") for (const key of ["since", "until"]) if (Number(state[key]) > 0) query.set(key, state[key]);
  return query;
}

/** Whether anything is filtered. */
export const isFiltered = (state) => Object.keys(DEFAULTS).some((key) => state[key] !== DEFAULTS[key]);

const two = (number) => String(number).padStart(2, "0");

/** Unix seconds as a field for a date and time has it, in the viewer's zone; empty for none. */
export function fieldOf(unix) {
  const given = Number(unix);
  if (!(given > 0)) return "";
  const at = new Date(given * 1000);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** The other way round. */
export function unixOf(field) {
  const at = new Date(field).getTime();
  return Number.isFinite(at) ? String(Math.floor(at / 1000)) : "";
}
