// Any request to a model, as it is written; and its answer, as it comes.
import { h, shallowReactive, watch } from "vue";
import { Choice, count } from "lamplighter/assets/kit.js";
import { AsCode } from "lamplighter/screens/playground/code.js";
import { Figures, Waiting, learnPrice } from "lamplighter/screens/playground/figures.js";
import { Field, Go, Problem, firstRow } from "lamplighter/screens/playground/parts.js";
import { eachPiece, isOver, newRun, send, stop, takeUsage } from "lamplighter/screens/playground/run.js";

const METHODS = ["POST", "GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
const BODYLESS = new Set(["GET", "HEAD"]);
const MOST = 200_000; // characters that are shown
const NO_TEXT = /^(image|audio|video|font)\/|octet-stream|^application\/(zip|gzip|pdf)/;
// A browser sets these itself, whatever it is told.
const NOT_OURS = /^(host|cookie|origin|referer|connection|content-length|keep-alive|te|trailer|transfer-encoding|upgrade|via|expect|date|dnt|accept-charset|accept-encoding|access-control-request-.*|proxy-.*|sec-.*)$/i;

// The page adds these to whatever it passes on, so that nothing of it is taken for a page of this server.
const ADDED = /^(content-security-policy|cross-origin-(opener|resource)-policy|referrer-policy|x-content-type-options|x-frame-options)$/;

const BODY = (model) => JSON.stringify({ model, messages: [{ role: "user", content: "Say hello." }], max_tokens: 32 }, null, 2);

const raw = shallowReactive({ method: "POST", path: "/v1/chat/completions", headers: "content-type: application/json", body: "", given: "", run: null, shown: "", problem: null });

export const leaveRaw = () => raw.run && stop(raw.run);

/** A path below /v1 or of an endpoint, as it will be asked. Throws why it is none. */
export function checkedPath(text) {
  const words = "A path here begins with /v1/ or /endpoints/NAME.";
  if (!text.startsWith("/")) throw new Error(words);
  const base = "/page/rest";
  const url = new URL(base + text.replaceAll("#", "%23"), location.origin);
  const path = url.pathname.slice(base.length);
  // A browser takes /v1/../ for what is above it: what is asked has to be below all the same.
  if (!url.pathname.startsWith(base) || !/^\/(v1|endpoints)\/[^/]/.test(path)) throw new Error(words);
  return path + url.search;
}

/** Headers from lines of "name: value". Throws which line is none. */
export function headersOf(text) {
  const found = {};
  for (const line of text.split("\n").filter((one) => one.trim())) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).trim();
    if (colon < 1 || !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) throw new Error(`A header is a line such as "name: value"; this is none: ${line.slice(0, 80)}`);
    if (NOT_OURS.test(name)) throw new Error(`${name} is a header that browsers set themselves; "As code" can send it.`);
    if (/^(authorization|x-api-key)$/i.test(name)) throw new Error("The page asks as you are signed in. Leave the key out; no key is kept here.");
    const value = line.slice(colon + 1).trim();
    if (/[^\t\x20-\x7e\x80-\xff]/.test(value)) throw new Error(`The value of ${name} has letters that a header can't have.`);
    found[name] = value;
  }
  return found;
}

async function read(run, response) {
  const kind = response.headers.get("content-type") ?? "";
  if (NO_TEXT.test(kind)) {
    await eachPiece(run, response, () => {});
    raw.shown = `${count(run.bytes)} bytes of ${kind}, which is no text.`;
    return ["done"];
  }
  const decoder = new TextDecoder();
  const add = (text) => {
    if (raw.run !== run) return;
    if (raw.shown.length + text.length > MOST) run.cut = true;
    raw.shown = (raw.shown + text).slice(0, MOST);
  };
  await eachPiece(run, response, (bytes) => {
    run.firstAt ??= performance.now();
    add(decoder.decode(bytes, { stream: true }));
  });
  add(decoder.decode());
  usageOf(run);
  return ["done"];
}

/** Take the tokens that an answer tells: of JSON, or of the last piece of a stream that has them. */
function usageOf(run) {
  if (run.cut) return;
  const pieces = raw.shown.startsWith("{") ? [raw.shown] : raw.shown.split("\n").filter((line) => line.startsWith("data:") && line.includes('"usage"')).map((line) => line.slice(5));
  for (const piece of pieces) {
    try {
      const { usage, response } = JSON.parse(piece);
      takeUsage(run, usage ?? response?.usage);
    } catch {
      // no JSON: nothing is told
    }
  }
}

async function ask() {
  let path, headers;
  try {
    [path, headers] = [checkedPath(raw.path.trim()), headersOf(raw.headers)];
    raw.problem = null;
  } catch (error) {
    raw.problem = error.message;
    return;
  }
  const run = newRun(modelOf(path));
  Object.assign(raw, { run, shown: "" });
  await send(run, raw.method, path, { headers, text: BODYLESS.has(raw.method) || !raw.body ? undefined : raw.body }, read);
  learnPrice(run.target);
  document.querySelector(".play-raw > section")?.scrollIntoView({ block: "nearest" }); // on a narrow screen it is below
}

/** Which model a request is for, for words about its wake; its path where that can't be seen. */
function modelOf(path) {
  const named = /^\/endpoints\/([^/?]+)/.exec(path);
  if (named) return decodeURIComponent(named[1]);
  try {
    return String(JSON.parse(raw.body).model ?? path);
  } catch {
    return path;
  }
}

const Answer = (props) => {
  const { run } = props;
  const busy = !isOver(run);
  const headers = run.headers.filter(([name]) => !ADDED.test(name));
  return h("section", { "aria-label": "Answer", "aria-busy": String(busy) }, [
    run.status === null && busy && h(Waiting, { run, row: firstRow(run.model), model: run.model }),
    run.status !== null && h("p", { role: "status" }, [h("strong", { class: run.status >= 400 ? "play-bad" : "" }, String(run.status)), h("span", { class: "quiet" }, busy ? " is being read" : ` · ${count(run.bytes)} bytes`)]),
    run.state === "stopped" && h("p", { class: "play-end" }, "Stopped here."),
    run.state === "half" && h("p", { class: "play-end" }, "This is half an answer."),
    run.problem && h(Problem, { problem: run.problem, again: true, link: props.link, onAgain: ask }),
    h(Figures, { run }),
    headers.length
      ? h("details", { open: true, class: "play-headers" }, [h("summary", `${headers.length} headers`), h("dl", headers.flatMap(([name, value]) => [h("dt", { key: name }, name), h("dd", value)]))])
      : null,
    raw.shown && h("pre", { class: "play-body", tabindex: "0", role: "region", "aria-label": "Body of the answer" }, raw.shown),
    run.cut && h("p", { class: "quiet" }, `These are the first ${count(MOST)} characters.`),
  ]);
};
Answer.props = ["run", "link"];

const suggestions = (model) => ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/models", ...(model ? [`/endpoints/${encodeURIComponent(model)}/health`, `/endpoints/${encodeURIComponent(model)}/v1/chat/completions`] : [])];

export const Raw = {
  props: ["model", "link", "keyed"],
  setup(props) {
    // The body follows the choice of the model until somebody writes one.
    const follow = () => {
      if (raw.body === raw.given) raw.body = raw.given = BODY(props.model);
    };
    watch(() => props.model, follow, { immediate: true });
    const request = () => {
      let headers = {};
      try {
        headers = headersOf(raw.headers);
      } catch {
        // what can't be read is not sent either
      }
      return { method: raw.method, url: location.origin + raw.path.trim(), headers, text: BODYLESS.has(raw.method) ? "" : raw.body };
    };
    return () => {
      const busy = raw.run && !isOver(raw.run);
      return h("div", { class: "play-raw" }, [
        h("form", { onSubmit: (event) => { event.preventDefault(); ask(); } }, [
          h("div", { class: "play-line" }, [
            h(Choice, { label: "Method", value: raw.method, options: METHODS.map((one) => [one, one]), onPick: (value) => (raw.method = value) }),
            h(Field, { label: "Path", value: raw.path, attributes: { list: "play-paths", spellcheck: "false", autocapitalize: "off" }, onWrite: (text) => (raw.path = text) }),
          ]),
          h("datalist", { id: "play-paths" }, suggestions(props.model).map((one) => h("option", { value: one }))),
          h(Field, { label: "Headers", multi: true, rows: 3, value: raw.headers, help: "One a line. Your key is added by the server.", attributes: { spellcheck: "false" }, onWrite: (text) => (raw.headers = text) }),
          h(Field, { label: "Body", multi: true, rows: 10, value: BODYLESS.has(raw.method) ? "" : raw.body, disabled: BODYLESS.has(raw.method), help: BODYLESS.has(raw.method) ? `${raw.method} has none.` : undefined, attributes: { spellcheck: "false" }, onWrite: (text) => (raw.body = text) }),
          raw.problem && h("p", { class: "problem", role: "alert" }, raw.problem),
          h("div", { class: "play-row" }, [h(Go, { busy, label: "Send", onStop: leaveRaw })]),
          h(AsCode, { request, keyed: props.keyed }),
        ]),
        raw.run ? h(Answer, { run: raw.run, link: props.link }) : h("section", { "aria-label": "Answer" }, h("p", { class: "quiet" }, "Status, headers and body of the answer are shown here, as they come.")),
      ]);
    };
  },
};
