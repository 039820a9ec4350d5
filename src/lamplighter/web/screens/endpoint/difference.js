// What differs between two documents, as lines and as the smallest body that an update needs. Pure.

/** Members of an answer that nobody sets. */
const OURS = ["name", "status", "lamplighter", "healthRoute", "accountId"];

/** Parts that an update replaces whole. */
const WHOLE = new Set(["model.image", "model.env", "model.secrets"]);

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** What can be changed of an endpoint's document. */
export const changeable = (document) => Object.fromEntries(Object.entries(document).filter(([key]) => !OURS.includes(key)));

/** A document as text, to be read and edited. */
export const written = (document) => JSON.stringify(document, null, 2);

/** What has to be sent so that `before` becomes `after`; `leftOut` tells members that are missing, which changes nothing. */
export function change(before, after, path = "", leftOut = []) {
  const body = {};
  for (const [key, value] of Object.entries(after)) {
    const here = path ? `${path}.${key}` : key;
    if (same(before[key], value)) continue;
    if (isObject(value) && isObject(before[key]) && !WHOLE.has(here)) {
      const inner = change(before[key], value, here, leftOut).body;
      if (Object.keys(inner).length) body[key] = inner;
    } else body[key] = value;
  }
  for (const key of Object.keys(before)) if (!(key in after)) leftOut.push(path ? `${path}.${key}` : key);
  return { body, leftOut };
}

/** A document with a change in it: what `change` told of another one. */
export function changed(document, body, path = "") {
  const result = { ...document };
  for (const [key, value] of Object.entries(body)) {
    const here = path ? `${path}.${key}` : key;
    result[key] = isObject(value) && isObject(document[key]) && !WHOLE.has(here) ? changed(document[key], value, here) : value;
  }
  return result;
}

const MOST = 1500; // lines of either side that are compared one by one

/** The lines of two texts: `[" " | "-" | "+", line]`, with what is the same far from any difference left out as `["…", ""]`. */
export function lines(before, after, around = 3) {
  const one = before.split("\n");
  const other = after.split("\n");
  if (one.length > MOST || other.length > MOST) return [...one.map((line) => ["-", line]), ...other.map((line) => ["+", line])];
  const all = walk(one, other, common(one, other));
  const near = new Set();
  all.forEach(([kind], at) => {
    if (kind !== " ") for (let by = -around; by <= around; by += 1) near.add(at + by);
  });
  return all.flatMap((line, at) => (near.has(at) ? [line] : near.has(at - 1) ? [["…", ""]] : []));
}

/** How long the longest common rest is, from each pair of lines on. */
function common(one, other) {
  const length = Array.from({ length: one.length + 1 }, () => new Uint16Array(other.length + 1));
  for (let at = one.length - 1; at >= 0; at -= 1)
    for (let to = other.length - 1; to >= 0; to -= 1)
      length[at][to] = one[at] === other[to] ? length[at + 1][to + 1] + 1 : Math.max(length[at + 1][to], length[at][to + 1]);
  return length;
}

function walk(one, other, length) {
  const found = [];
  let at = 0;
  let to = 0;
  while (at < one.length || to < other.length) {
    if (at < one.length && to < other.length && one[at] === other[to]) {
      found.push([" ", one[at]]);
      at += 1;
      to += 1;
    } else if (to >= other.length || (at < one.length && length[at + 1][to] >= length[at][to + 1])) found.push(["-", one[at++]]);
    else found.push(["+", other[to++]]);
  }
  return found;
}
