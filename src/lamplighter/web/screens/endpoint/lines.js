// Lines of a log, made harmless: bounded, and with nothing in them that a screen could mistake for more than text. Pure.

export const LONGEST = 2000; // characters of a line that are kept

// Colours and cursor moves of terminals: they say nothing here.
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]{0,2000}(?:\u0007|\u001b\\)?|[@-Z\\-_])/g;
// What is not seen, or turns the direction of the text around: shown by its number.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

const shown = (letter) => {
  const code = letter.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code); // the pictures of control characters
  return code === 0x7f ? "␡" : `\\u${code.toString(16).padStart(4, "0")}`;
};

/** A line as text that can be looked at. Of a progress bar, which goes back to its beginning, only the last state. */
export function harmless(text) {
  const plain = text.replace(ESCAPES, "").replace(/\r+$/, "");
  return plain.slice(plain.lastIndexOf("\r") + 1).replace(UNSEEN, shown);
}

/** Cuts a stream of text into lines, and never holds more of one than is kept of it. */
export class Cutter {
  #head = "";
  #left = 0; // characters of this line that were not kept

  /** Whole lines, as `{text, left}`. */
  push(text) {
    const lines = [];
    let from = 0;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", from)) {
      this.#add(text, from, at);
      lines.push(this.end());
      from = at + 1;
    }
    this.#add(text, from, text.length);
    return lines;
  }

  /** What has come of a line that is not whole. */
  end() {
    const line = { text: harmless(this.#head), left: this.#left };
    this.#head = "";
    this.#left = 0;
    return line;
  }

  #add(text, from, to) {
    const room = Math.max(0, LONGEST - this.#head.length);
    const take = Math.min(room, to - from);
    this.#head += text.slice(from, from + take);
    this.#left += to - from - take;
  }
}

/** A line in parts, of which every second one is what was searched for; small and capital letters are the same. */
export function parts(text, wanted) {
  if (!wanted) return [text];
  const low = text.toLowerCase();
  if (low.length !== text.length) return [text]; // a letter whose small form is longer: places would not fit
  const found = [];
  let from = 0;
  for (let at = low.indexOf(wanted); at >= 0 && found.length < 200; at = low.indexOf(wanted, from)) {
    found.push(text.slice(from, at), text.slice(at, at + wanted.length));
    from = at + wanted.length;
  }
  return [...found, text.slice(from)];
}
