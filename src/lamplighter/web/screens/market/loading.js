// Asking for offers and models: the newest question counts, an older answer is thrown away.
import { ref, shallowReactive, shallowRef } from "vue";
import { askJson } from "lamplighter/assets/kit.js";
import { keyOf, parsed } from "lamplighter/screens/market/figures.js";

export const PAGE = 60; // offers that are drawn at first, and more of at a time

/** The filters of the address as the route's own parameters; `extra` are further ones. */
export function questionOf(state, extra = {}) {
  const asked = { search: state.q, model: state.model, task: state.task, region: state.region, provider: state.provider, kind: state.kind, max_price: state.price, context: state.context, tools: state.tools, ...extra };
  const query = new URLSearchParams({ sort: state.sort });
  for (const [key, value] of Object.entries(asked)) if (value !== "" && value !== undefined) query.set(key, value);
  return `/api/offers?${query}`;
}

/** The offers that the address asks for. */
export function useOffers(state) {
  const found = shallowRef(null); // offers, total, sources
  const problem = shallowRef(null);
  const busy = ref(false);
  let current = null;

  async function load({ more = false } = {}) {
    current?.abort();
    const mine = (current = new AbortController());
    busy.value = true;
    try {
      const before = more ? found.value.offers : [];
      const page = await askJson("GET", questionOf(state, { limit: PAGE, offset: more ? before.length : "" }), { signal: mine.signal });
      const known = new Set(before.map(keyOf));
      found.value = { ...page, offers: [...before, ...page.offers.filter((one) => !known.has(keyOf(one)))] };
      problem.value = null;
    } catch (error) {
      if (error.name === "AbortError") return;
      problem.value = error;
    } finally {
      if (mine === current) busy.value = false;
    }
  }
  return { found, problem, busy, load, stop: () => current?.abort() };
}

/** Offers by their keys, for those that are compared: each is asked for by itself, whatever the filters are. */
export function useCompared() {
  const known = shallowReactive(new Map()); // by key: an offer, null where it is gone, or an Error
  const asking = new Set();

  async function find(key) {
    const wanted = parsed(key);
    if (!wanted || known.has(key) || asking.has(key)) return;
    asking.add(key);
    try {
      const query = new URLSearchParams({ model: wanted.model, kind: wanted.kind, limit: 1000 });
      const page = await askJson("GET", `/api/offers?${query}`);
      known.set(key, page.offers.find((one) => keyOf(one) === key) ?? null);
    } catch (error) {
      known.set(key, error);
    } finally {
      asking.delete(key);
    }
  }
  const note = (offers) => offers.forEach((one) => known.set(keyOf(one), one));
  return { known, find, note, forget: () => known.clear() };
}

/** Everybody who offers something, asked for once. */
export function useProviders() {
  const names = shallowRef([]);
  async function load() {
    try {
      const page = await askJson("GET", "/api/offers?limit=1000&sort=provider");
      names.value = [...new Set(page.offers.map((one) => one.provider))].sort();
    } catch {
      names.value = []; // the filter then offers what the address says; the list itself tells what is wrong
    }
  }
  return { names, load };
}
