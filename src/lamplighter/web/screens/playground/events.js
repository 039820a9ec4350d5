// Server-sent events from bytes, however they are cut: in a line, in a letter, between CR and LF. Knows no page.

const MOST = 16_000_000; // characters of one event; more is no stream that anybody meant

/**
 * Takes bytes with `push`, and calls `on.event({ event, data })` and `on.comment(text)` as they are whole.
 * `end` tells that nothing more comes: a last event counts also where the blank line behind it is missing.
 */
export function eventReader(on) {
  const decoder = new TextDecoder("utf-8");
  let rest = "";
  let data = [];
  let held = 0;
  let event = "";

  const line = (text) => {
    if (text === "") {
      if (data.length) on.event({ event: event || "message", data: data.join("\n") });
      data = [];
      held = 0;
      event = "";
      return;
    }
    const colon = text.indexOf(":");
    if (colon === 0) return on.comment(text.slice(1).trim());
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(colon + (text[colon + 1] === " " ? 2 : 1));
    if (field === "data") {
      data.push(value);
      held += value.length;
    } else if (field === "event") event = value;
  };

  const take = (text, last) => {
    rest += text;
    if (rest.length + held > MOST) throw new Error("an event of the stream is too large");
    let from = 0;
    for (;;) {
      const at = endOfLine(rest, from);
      // A CR at the very end may be half of a CR LF.
      if (at < 0 || (!last && rest[at] === "\r" && at === rest.length - 1)) break;
      line(rest.slice(from, at));
      from = at + (rest[at] === "\r" && rest[at + 1] === "\n" ? 2 : 1);
    }
    rest = rest.slice(from);
  };

  return {
    push: (bytes) => take(decoder.decode(bytes, { stream: true }), false),
    end: () => {
      take(decoder.decode(), true);
      if (rest) line(rest);
      rest = "";
      line("");
    },
  };
}

function endOfLine(text, from) {
  for (let at = from; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 10 || code === 13) return at;
  }
  return -1;
}
