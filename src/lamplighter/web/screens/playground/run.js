// One request and what came of it: what was answered, by whom, and how long each part took as seen from here.
import { shallowReactive } from "vue";
import { Refused, askAnything, refusalOf } from "lamplighter/assets/kit.js";
import { eventReader } from "lamplighter/screens/playground/events.js";

const MOST_SHOWN = 400_000; // characters of an answer that are kept; the rest is counted alone

/** `state`: waiting (for the head), answering, done, half (broken off), stopped, failed. Times are ms of performance.now(). */
export const newRun = (model) =>
  shallowReactive({
    model,
    state: "waiting",
    began: performance.now(),
    at: new Date(),
    firstAt: null,
    lastAt: null,
    endedAt: null,
    status: null,
    headers: [],
    target: null,
    fallback: null,
    choice: null,
    requestId: null,
    waited: null, // seconds that the gateway held it; null where it did not tell
    limit: null,
    note: "", // what the server says while it holds a stream
    text: "",
    thought: "",
    pieces: 0,
    tokensIn: null,
    tokensOut: null,
    reason: null,
    bytes: 0,
    cut: false,
    problem: null,
    controller: new AbortController(),
  });

export const isOver = (run) => run.endedAt !== null;

function end(run, state, problem = null) {
  if (isOver(run)) return;
  run.endedAt = performance.now();
  run.problem = problem;
  run.state = state;
}

/** Stop asking: the server is told, and ends the request at the target. */
export function stop(run) {
  if (isOver(run)) return;
  run.controller.abort();
  end(run, "stopped");
}

function takeHead(run, response) {
  const get = (name) => response.headers.get(name);
  run.status = response.status;
  run.headers = [...response.headers];
  run.target = get("x-lamplighter-target");
  run.fallback = get("x-lamplighter-fallback");
  run.choice = get("x-lamplighter-choice");
  run.requestId = get("x-request-id");
  run.limit = get("x-lamplighter-hold-limit");
  const waited = get("x-lamplighter-waited-ms");
  run.waited = waited === null ? null : Number(waited) / 1000;
  run.state = "answering";
}

const seen = (run) => {
  run.lastAt = performance.now();
  run.firstAt ??= run.lastAt;
};

/** Take what an answer tells of its tokens, in the form of any of the APIs. */
export function takeUsage(run, usage) {
  if (!usage || typeof usage !== "object") return;
  const number = (one) => (Number.isFinite(one) ? one : null);
  run.tokensIn = number(usage.prompt_tokens) ?? number(usage.input_tokens) ?? run.tokensIn;
  run.tokensOut = number(usage.completion_tokens) ?? number(usage.output_tokens) ?? run.tokensOut;
}

/** The words of an error in an answer, whatever its form. */
export const wordsOf = (error) => (typeof error === "string" ? error : error?.message || JSON.stringify(error));

/**
 * Ask, and read the answer with `read(run, response)`, which tells how it ended: "done" or "half".
 * What goes wrong is told in the run; nothing is thrown.
 */
export async function send(run, method, path, options, read) {
  let response;
  try {
    response = await askAnything(method, path, { ...options, signal: run.controller.signal });
    takeHead(run, response);
    const [state, problem] = await read(run, response);
    end(run, state, problem);
  } catch (error) {
    if (run.controller.signal.aborted) end(run, "stopped");
    else if (error instanceof Refused) end(run, "failed", error);
    else end(run, response ? "half" : "failed", new Refused(run.status ?? 0, { message: brokenOff(run, error) }));
  }
}

const brokenOff = (run, error) =>
  error.name === "TypeError" ? "The connection broke off before the answer was whole." : `The answer could not be read: ${error.message}.`;

/** Call `take` with each piece of bytes as it comes. */
export async function eachPiece(run, response, take) {
  if (response.body === null) return;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    run.bytes += value.length;
    take(value);
  }
}

/** Read all of a body as text. */
export async function wholeText(run, response) {
  const decoder = new TextDecoder();
  let text = "";
  await eachPiece(run, response, (bytes) => (text += decoder.decode(bytes, { stream: true })));
  return text + decoder.decode();
}

/** What a target refused, in its words and with its `Retry-After`. */
export async function refusal(run, response) {
  const error = refusalOf(response.status, await wholeText(run, response));
  const wait = Number(response.headers.get("retry-after"));
  if (!error.retryAfter && wait > 0) error.retryAfter = wait;
  return error;
}

function add(run, key, given) {
  const text = typeof given === "string" ? given : Array.isArray(given) ? given.map((part) => part?.text ?? "").join("") : "";
  if (!text) return;
  seen(run);
  if (run[key].length + text.length > MOST_SHOWN) run.cut = true;
  else run[key] += text;
}

function takeMessage(run, message) {
  if (!message || typeof message !== "object") return;
  add(run, "thought", message.reasoning_content ?? message.reasoning);
  add(run, "text", message.content);
  add(run, "text", message.refusal);
  if (Array.isArray(message.tool_calls)) for (const call of message.tool_calls) add(run, "text", call?.function?.name ? `[calls the tool ${call.function.name}] ` : "");
}

function takeChunk(run, chunk, on) {
  if (!chunk || typeof chunk !== "object") return;
  if (chunk.error) on.problem(chunk.error);
  takeUsage(run, chunk.usage);
  for (const choice of Array.isArray(chunk.choices) ? chunk.choices : []) {
    const before = run.text.length + run.thought.length;
    takeMessage(run, choice?.delta ?? choice?.message);
    run.pieces += Number(run.text.length + run.thought.length > before);
    if (choice?.finish_reason) {
      run.reason = String(choice.finish_reason);
      on.finish();
    }
  }
}

/** Read an answer to a chat: a stream of events, or, from who does not stream, JSON. */
export async function readChat(run, response) {
  if (!response.ok) return ["failed", await refusal(run, response)];
  const kind = response.headers.get("content-type") ?? "";
  if (!kind.startsWith("text/event-stream")) return readWhole(run, await wholeText(run, response));
  let finished = false;
  let problem = null;
  const on = { finish: () => (finished = true), problem: (error) => (problem ??= new Refused(response.status, { message: wordsOf(error), code: error?.code })) };
  const reader = eventReader({
    comment: (text) => (run.note = text.slice(0, 300)),
    event: ({ data }) => {
      if (data.trim() === "[DONE]") return on.finish();
      try {
        takeChunk(run, JSON.parse(data), on);
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
        problem ??= new Refused(response.status, { message: `A piece of the answer is no JSON: ${data.slice(0, 200)}` });
      }
    },
  });
  await eachPiece(run, response, reader.push);
  reader.end();
  if (problem) return [run.text || run.thought ? "half" : "failed", problem];
  return finished ? ["done"] : ["half", new Refused(response.status, { message: "The stream ended before the answer was finished." })];
}

function readWhole(run, text) {
  let whole;
  try {
    whole = JSON.parse(text);
  } catch {
    return ["failed", new Refused(run.status, { message: `The answer is neither a stream of events nor JSON: ${text.slice(0, 300)}` })];
  }
  if (whole?.error) return ["failed", refusalOf(run.status, text)];
  takeChunk(run, whole, { problem: () => {}, finish: () => {} });
  return Array.isArray(whole?.choices) ? ["done"] : ["failed", new Refused(run.status, { message: `The answer is none to a chat: ${text.slice(0, 300)}` })];
}
