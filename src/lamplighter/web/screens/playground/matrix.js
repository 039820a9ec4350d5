// Vectors side by side. Pure, and knows no page.

/** The cosine of two vectors; null where one of them has no direction. */
export function cosine(a, b) {
  let [dot, first, second] = [0, 0, 0];
  for (let at = 0; at < a.length; at++) {
    dot += a[at] * b[at];
    first += a[at] * a[at];
    second += b[at] * b[at];
  }
  const size = Math.sqrt(first) * Math.sqrt(second);
  return size > 0 && Number.isFinite(size) ? Math.max(-1, Math.min(1, dot / size)) : null;
}

/** Each with each. */
export const similarities = (vectors) => vectors.map((a) => vectors.map((b) => cosine(a, b)));

/** The vectors of an answer, in the order of the texts. Throws what is wrong with it. */
export function vectorsOf(answer, number) {
  if (!Array.isArray(answer?.data)) throw new Error("The answer is none of embeddings.");
  const found = Array(number).fill(null);
  answer.data.forEach((one, at) => (found[Number.isInteger(one?.index) ? one.index : at] = one?.embedding));
  const isVector = (one) => Array.isArray(one) && one.length > 0 && one.every(Number.isFinite);
  if (found.length !== number || !found.every(isVector)) throw new Error("The answer has not one vector of numbers for each text.");
  if (found.some((one) => one.length !== found[0].length)) throw new Error("The vectors are of different lengths.");
  return found;
}

/** How warm each cell is, 0 to 1: from the least similar pair to the same text. */
export function heat(rows) {
  const pairs = rows.flatMap((row, at) => row.filter((one, other) => other !== at && one !== null));
  const least = Math.min(1, ...pairs);
  return rows.map((row) => row.map((one) => (one === null || least === 1 ? 0 : (one - least) / (1 - least))));
}
