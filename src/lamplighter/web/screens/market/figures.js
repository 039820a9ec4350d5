// What an offer says, in words: the same ones on cards, in the table and side by side. Pure, but for the clock.
import { count, duration, money, moment } from "lamplighter/assets/kit.js";
import { clock } from "lamplighter/assets/live.js";

const UNITS = {
  million_tokens_in: ["in", "per million tokens in"],
  million_tokens_out: ["out", "per million tokens out"],
  replica_hour: ["an hour", "an hour of a replica"],
  image: ["an image", "an image"],
  request: ["a request", "a request"],
  audio_minute: ["a minute", "a minute of audio"],
};

/** What a price is for, in few words. */
export const unitOf = (quote) => {
  const label = UNITS[quote.unit]?.[0] ?? quote.unit.replaceAll("_", " ");
  return quote.unit.startsWith("million") ? `a million tokens ${label}` : label;
};

/** The parts of the world that regions are told by, and what is told of one. */
export const REGIONS = { us: "United States", ca: "Canada", sa: "South America", eu: "European Union", uk: "United Kingdom", ch: "Switzerland", me: "Middle East", il: "Israel", af: "Africa", ap: "Asia Pacific", local: "this machine", gdpr: "under the GDPR" };

/** An exact decimal as dollars, with all its digits up to the sixth. */
export function dollars(text) {
  const digits = String(text).split(".")[1]?.replace(/0+$/, "") ?? "";
  const size = Math.abs(Number(text));
  if (!size || digits.length <= 2 || digits.length > 6 || size >= 1000) return money(Number(text));
  return `$${Number(text).toFixed(digits.length)}`;
}

/** How long ago, by the server's clock. */
export function ago(at) {
  const seconds = clock.now - at;
  return seconds < 10 ? "just now" : `${duration(seconds)} ago`;
}

/** The name of an offer that stays the same while its figures change: it can stand in an address. */
export const keyOf = (offer) => [offer.kind === "hardware" ? "h" : "s", offer.model, offer.provider, offer.endpoint ?? "", offer.hardware ?? ""].map(encoded).join("~");
const encoded = (text) => encodeURIComponent(text).replaceAll("~", "%7E").replaceAll("%2F", "/");

/** What a key names; null for one that nobody made here. */
export function parsed(key) {
  try {
    const [kind, model, provider, endpoint, hardware] = key.split("~").map(decodeURIComponent);
    if (!model || !provider || hardware === undefined) return null;
    const named = { kind: kind === "h" ? "hardware" : "serverless", model, provider, endpoint, hardware };
    return { ...named, key: keyOf(named) };
  } catch {
    return null;
  }
}

/** Who has it, in a word. */
export const from = (offer) => offer.endpoint ?? offer.provider;

/** Where an offer comes from, in a few words. */
export function kindOf(offer) {
  if (offer.endpoint) return offer.kind === "hardware" ? "endpoint of this server" : "upstream of this server";
  return offer.kind === "hardware" ? "by the hour" : "by use";
}

const quoteOf = (offer, unit) => offer.quotes.find((quote) => quote.unit === unit);

/** The price that is compared: amount and what it is for; null where none was told. */
export function mainPrice(offer) {
  for (const unit of ["million_tokens_out", "replica_hour", "image", "request", "audio_minute", "million_tokens_in"]) {
    const quote = quoteOf(offer, unit);
    if (quote) return quote;
  }
  return null;
}

/** Prices as pairs: the amount, and what it is for. */
export function prices(offer) {
  if (offer.is_free && !offer.quotes.length) return [["free", "for a time"]];
  return Object.entries(UNITS).flatMap(([unit, [label, title]]) => {
    const quote = quoteOf(offer, unit);
    return quote ? [[dollars(quote.amount), label, title]] : [];
  });
}

/** What one price is, as text for a cell; null where it was not told. */
export const price = (offer, unit) => {
  const quote = quoteOf(offer, unit);
  return quote ? dollars(quote.amount) : null;
};

/** What a million tokens out come to, where an hour's price was divided by what was measured. */
export const derived = (offer) => (offer.price_per_million !== null && !quoteOf(offer, "million_tokens_out") ? money(Number(offer.price_per_million)) : null);

/** What use has cost: per million tokens, else per request. */
export function hasCost(offer) {
  const { cost } = offer;
  if (!cost) return null;
  if (cost.per_million_tokens !== null) return `${money(Number(cost.per_million_tokens))} a million tokens`;
  return cost.per_request === null ? null : `${money(Number(cost.per_request))} ${offer.modality === "image" ? "an image (a request)" : "a request"}`;
}

/** Tokens a second, and whether they were measured or quoted. */
export function speed(offer) {
  const measured = offer.measured?.tokens_per_second;
  if (measured != null) return [`${measured.toFixed(1)}/s`, "measured", offer.measured.source];
  return offer.throughput === null ? null : [`${offer.throughput.toFixed(offer.throughput < 100 ? 1 : 0)}/s`, "quoted", `as ${offer.source} tells it`];
}

/** Time to the first token, and whether it was measured or quoted. */
export function firstToken(offer) {
  const measured = offer.measured?.first_token;
  if (measured != null) return [seconds(measured), "measured"];
  return offer.first_token === null ? null : [seconds(offer.first_token), "quoted"];
}

const seconds = (number) => (number < 10 ? `${number.toFixed(number < 1 ? 2 : 1)} s` : duration(number));

/** How long a start takes, by earlier ones. */
export const coldStart = (offer) => (offer.cold_start === null ? null : duration(offer.cold_start));

/** Tokens, rounded as people say them. */
export function tokens(number) {
  if (number === null) return null;
  for (const [size, letter] of [[1048576, "M"], [1024, "k"]])
    if (number >= size && number % size === 0) return `${number / size}${letter}`;
  if (number >= 1e6) return `${+(number / 1e6).toFixed(1)}M`;
  return number >= 1000 ? `${Math.round(number / 1000)}k` : count(number);
}

/** A yes or no that somebody told; null where nobody did. */
export const yesNo = (value) => (value === null ? null : value ? "yes" : "no");

/** Where it is: the provider's word, and the tags of compliance. */
export const region = (offer) => offer.region || null;
export const tags = (offer) => offer.tags.map((tag) => (tag.startsWith("region=") ? (REGIONS[tag.slice(7)] ?? tag.slice(7)) : tag.toUpperCase())).filter((tag) => tag !== "this machine");

/** Whether it fits on its hardware: an estimate, and named so. */
export function fit(offer) {
  const one = offer.fit;
  if (!one) return null;
  if (one.fits === null || one.needed_gb === null || one.available_gb === null) return "fit not known";
  return `${one.fits ? "fits" : "does not fit"}: ≈ ${one.needed_gb.toFixed(one.needed_gb < 10 ? 1 : 0)} of ${+one.available_gb.toFixed(1)} GB (estimate)`;
}

/** Who told the price that is compared, and how long ago; null where there is none. */
export function toldBy(offer) {
  const quote = mainPrice(offer);
  return quote ? { text: `${quote.source}, ${ago(quote.at)}`, title: `${quote.source} said so ${moment(quote.at)}` } : null;
}

/** What other sources say that is not the same, as texts. */
export function disputes(offer) {
  if (!offer.disagrees) return [];
  const counts = Object.fromEntries([...offer.quotes].reverse().map((quote) => [quote.unit, quote.amount]));
  const by = new Map();
  for (const other of offer.others)
    if (other.unit in counts && Number(counts[other.unit]) !== Number(other.amount)) by.set(other.source, [...(by.get(other.source) ?? []), other]);
  return [...by].map(([source, quotes]) => `${source} says ${quotes.map((one) => `${dollars(one.amount)} ${UNITS[one.unit]?.[0] ?? one.unit}`).join(", ")} (${ago(Math.min(...quotes.map((one) => one.at)))})`);
}

/** A number of parameters as people say it. */
export const parameters = (number) => (number === null ? null : number >= 1e9 ? `${+(number / 1e9).toFixed(1)} billion` : `${+(number / 1e6).toFixed(0)} million`);
