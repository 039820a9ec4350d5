// What is typed into the form of a new key, read as the command line reads it. Pure.

const UNITS = { d: 86400, h: 3600, m: 60, s: 1 };

/** A duration such as 12h, 30d or 1h30m in seconds; null for nothing. Throws what would be right. */
export function seconds(text) {
  const given = text.trim().toLowerCase().replaceAll(" ", "");
  if (!given) return null;
  if (!/^(\d+(\.\d+)?[dhms])+$/.test(given)) throw new Error("should be a duration such as 12h, 30d or 1h30m, or nothing");
  return [...given.matchAll(/(\d+(?:\.\d+)?)([dhms])/g)].reduce((sum, [, amount, unit]) => sum + Number(amount) * UNITS[unit], 0);
}

/** A whole number; null for nothing. Throws what would be right. */
export function whole(text) {
  const given = String(text).trim();
  if (!given) return null;
  if (!/^-?\d{1,12}$/.test(given)) throw new Error("should be a whole number, or nothing");
  return Number(given);
}

/** Names with commas or blanks between them. */
export const names = (text) => text.split(/[\s,]+/).filter(Boolean);

/** Tags as name=value, with commas or line ends between them. Throws what would be right. */
export function tags(text) {
  const found = {};
  for (const part of text.split(/[\n,]+/).map((one) => one.trim()).filter(Boolean)) {
    const [name, ...rest] = part.split("=");
    if (!rest.length || !name.trim()) throw new Error(`${part}: should be NAME=VALUE`);
    if (name.trim() in found) throw new Error(`${name.trim()} stands there twice`);
    found[name.trim()] = rest.join("=").trim();
  }
  return found;
}

export const EMPTY = { name: "", role: "infer", routes: "", may_wake: true, priority: "0", requests_per_minute: "", tokens_per_minute: "", concurrent: "", tags: "", expires_in: "" };

/** What to send, and what is wrong by field. */
export function read(given) {
  const problems = {};
  const of = (field, reader) => {
    try {
      return reader(given[field]);
    } catch (error) {
      problems[field] = error.message;
      return null;
    }
  };
  const body = {
    name: given.name.trim(),
    role: given.role,
    routes: names(given.routes),
    may_wake: given.may_wake,
    priority: of("priority", whole) ?? 0,
    limits: {
      requests_per_minute: of("requests_per_minute", whole),
      tokens_per_minute: of("tokens_per_minute", whole),
      concurrent: of("concurrent", whole),
    },
    tags: of("tags", tags) ?? {},
    expires_in: of("expires_in", seconds),
  };
  if (!body.name) problems.name = "should be a word for it: what it does is recorded under this";
  return { body, problems };
}

/** Which field of the form the server's refusal is about; "" for none of them. */
export function fieldOf(refused) {
  const known = Object.keys(EMPTY);
  const parts = String(refused.field ?? "").split(/[.[\]]/).filter(Boolean);
  const named = [...parts].reverse().find((part) => known.includes(part)) ?? parts.find((part) => known.includes(part));
  if (named) return named;
  return refused.code === "conflict" && /name|taken/i.test(refused.message) ? "name" : "";
}
