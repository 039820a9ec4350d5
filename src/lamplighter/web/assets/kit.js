// What all screens share: writing of figures, asking the server, small parts. Nothing here knows a screen.
import { h, nextTick, onMounted, onBeforeUnmount, reactive, ref } from "vue";

// Figures.

const dollarsOf = new Map();

/** Dollars with as many digits as say something: 0.0042, 0.83, 1,204. */
export function money(amount) {
  if (amount === null || amount === undefined) return "–";
  const size = Math.abs(amount);
  if (size > 0 && size < 0.0001) return "< $0.0001";
  const digits = size === 0 ? 2 : size < 0.01 ? 4 : size < 1000 ? 2 : 0;
  if (!dollarsOf.has(digits))
    dollarsOf.set(
      digits,
      new Intl.NumberFormat("en-US", { style: "currency", currency: "USD", minimumFractionDigits: digits, maximumFractionDigits: digits }),
    );
  return dollarsOf.get(digits).format(amount);
}

/** A whole number with separators. */
export const count = (number) => number.toLocaleString("en-US");

/** A duration as people read a clock: 0:09, 12:31, 1:02:40; days beyond two of them. */
export function clockTime(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole >= 172800) return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const rest = `${hours ? two(Math.floor((whole % 3600) / 60)) : Math.floor(whole / 60)}:${two(whole % 60)}`;
  return hours ? `${hours}:${rest}` : rest;
}

/** A duration in words: 4 s, 12 min, 3 h, 2 d. */
export function duration(seconds) {
  if (seconds < 10 && seconds % 1) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** A moment of Unix time, in the viewer's zone. */
export const moment = (unix) => moments.format(new Date(unix * 1000));

// Asking the server.

/** What the server refused, in its words. */
export class Refused extends Error {
  constructor(status, error) {
    super(error.message || `The server answered ${status}.`);
    this.status = status;
    this.code = error.code || "";
    this.field = error.field || null;
    this.retryAfter = error.retry_after || null;
  }
}

/** The words of an error, whatever its API's form. */
function told(body) {
  if (!body || typeof body !== "object") return {};
  if (body.error && typeof body.error === "object") return body.error;
  return { message: typeof body.error === "string" ? body.error : body.message || body.detail };
}

/**
 * Ask a route of the REST, or of /v1, as the visitor: same rights, same records, same figures. `path` is the route's own.
 * Gives the Response of fetch. Throws Refused, also where the server can't be reached (status 0).
 */
export async function ask(method, path, { body, signal } = {}) {
  let response;
  try {
    response = await fetch(`/page/rest${path}`, {
      method,
      signal,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { message: "The server can't be reached. Try again when it is back." });
  }
  if (response.status === 401) {
    signIn();
    throw new Refused(401, { message: "You were signed out." });
  }
  if (!response.ok) throw new Refused(response.status, told(await response.json().catch(() => null)));
  return response;
}

/** The same, for an answer in JSON. */
export const askJson = async (method, path, options) => (await ask(method, path, options)).json();

let held = false;

/** Stay where we are for now, signed out or not: something is shown that is shown once. */
export const holdSignIn = (hold) => (held = hold);

/** Whether somebody asked for that. */
export const isSignInHeld = () => held;

/** Go to the form that asks for a key, and come back here. */
export function signIn() {
  if (held) return;
  window.location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
}

// The address of a screen holds its filters.

/** Filters that live in the address: an object with the defaults given, written back as it changes. */
export function useQuery(defaults) {
  const read = () => {
    const given = new URLSearchParams(location.search);
    return Object.fromEntries(Object.entries(defaults).map(([key, value]) => [key, given.get(key) ?? value]));
  };
  const state = reactive(read());
  const back = () => Object.assign(state, read());
  onMounted(() => window.addEventListener("popstate", back));
  onBeforeUnmount(() => window.removeEventListener("popstate", back));
  const set = (key, value) => {
    state[key] = value;
    const query = new URLSearchParams();
    for (const [name, one] of Object.entries(state)) if (one !== defaults[name]) query.set(name, one);
    const text = query.toString();
    history.replaceState(null, "", location.pathname + (text ? `?${text}` : ""));
  };
  return { state, set };
}

// Parts. All text goes in as text.

/** A word and a colour for the phase of an endpoint, as the board's row has it. */
export function phaseOf(row) {
  if (row.leaving) return "leaving";
  return row.paused && row.status !== "stopping" ? "paused" : row.status;
}

/** The lamp: it glows when awake. The word stands beside it. */
export const Lamp = (props) => h("span", { class: ["lamp", props.phase], "aria-hidden": "true" });
Lamp.props = ["phase"];

/** A choice among few, as a native select with its label. */
export const Choice = (props, { emit }) =>
  h("label", { class: "choice" }, [
    h("span", props.label),
    h(
      "select",
      { value: props.value, onChange: (event) => emit("pick", event.target.value) },
      props.options.map(([value, label]) => h("option", { value, selected: value === props.value }, label)),
    ),
  ]);
Choice.props = ["label", "value", "options"];
Choice.emits = ["pick"];

/** A menu at a button: each item says what it does, and what that means. */
export const Menu = {
  props: ["label", "items"],
  setup(props) {
    const open = ref(false);
    const list = ref(null);
    const button = ref(null);
    const show = async () => {
      open.value = true;
      await nextTick();
      place();
      list.value.querySelector("button")?.focus();
    };
    const close = (back = true) => {
      if (!open.value) return;
      open.value = false;
      if (back) button.value?.focus();
    };
    const place = () => {
      const at = button.value.getBoundingClientRect();
      const box = list.value.getBoundingClientRect();
      const below = at.bottom + box.height + 8 < innerHeight;
      list.value.style.left = `${Math.max(8, Math.min(at.right - box.width, innerWidth - box.width - 8))}px`;
      list.value.style.top = `${below ? at.bottom + 4 : Math.max(8, at.top - box.height - 4)}px`;
    };
    const onKey = (event) => {
      const items = [...list.value.querySelectorAll("button")];
      const at = items.indexOf(document.activeElement);
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
      if (to !== undefined) {
        event.preventDefault();
        items.at(to % items.length)?.focus();
      } else if (event.key === "Escape" || event.key === "Tab") {
        event.stopPropagation();
        if (event.key === "Escape") event.preventDefault();
        close();
      }
    };
    const away = (event) => {
      if (!open.value || list.value?.contains(event.target) || button.value?.contains(event.target)) return;
      close(false);
    };
    const scrolled = () => close(false);
    onMounted(() => {
      document.addEventListener("pointerdown", away);
      document.addEventListener("scroll", scrolled, { passive: true });
    });
    onBeforeUnmount(() => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("scroll", scrolled);
    });
    return () => [
      h(
        "button",
        {
          ref: button,
          class: "icon",
          type: "button",
          "aria-label": props.label,
          "aria-haspopup": "menu",
          "aria-expanded": open.value,
          onClick: () => (open.value ? close() : show()),
        },
        "⋯",
      ),
      open.value &&
        h(
          "div",
          { ref: list, class: "menu", role: "menu", "aria-label": props.label, onKeydown: onKey },
          props.items().map((item) =>
            h(
              "button",
              {
                type: "button",
                role: "menuitem",
                class: { danger: item.danger },
                "aria-disabled": item.off ? "true" : undefined,
                onClick: () => {
                  if (item.off) return;
                  close();
                  item.run();
                },
              },
              [h("span", { class: "does" }, item.label), h("span", { class: "means" }, item.off || item.means)],
            ),
          ),
        ),
    ];
  },
};

/** A question that has to be answered first. With `typed`, that text has to be typed before the answer can be yes. */
export const Question = {
  props: ["title", "text", "points", "typed", "yes", "danger", "busy", "problem"],
  emits: ["yes", "no"],
  setup(props, { emit }) {
    const dialog = ref(null);
    const given = ref("");
    let before = null;
    onMounted(() => {
      before = document.activeElement;
      dialog.value.showModal();
    });
    onBeforeUnmount(() => {
      dialog.value.close(); // while it is open, nothing outside of it takes the focus
      if (before?.isConnected) before.focus();
    });
    const mayGo = () => !props.busy && (!props.typed || given.value === props.typed);
    return () =>
      h("dialog", { ref: dialog, class: "question", "aria-labelledby": "question-title", onCancel: (event) => { event.preventDefault(); emit("no"); } }, [
        h("form", { method: "dialog", onSubmit: (event) => { event.preventDefault(); if (mayGo()) emit("yes"); } }, [
          h("h2", { id: "question-title" }, props.title),
          props.text && h("p", props.text),
          props.points && h("dl", props.points.flatMap(([term, what]) => [h("dt", term), h("dd", what)])),
          props.typed && [
            h("label", { for: "question-typed" }, ["Type ", h("code", props.typed), " to go on"]),
            h("input", {
              id: "question-typed",
              autocomplete: "off",
              autocapitalize: "off",
              spellcheck: "false",
              value: given.value,
              onInput: (event) => (given.value = event.target.value),
            }),
          ],
          props.problem && h("p", { class: "problem", role: "alert" }, props.problem),
          h("div", { class: "answers" }, [
            h("button", { type: "button", onClick: () => emit("no") }, "Cancel"),
            h("button", { type: "submit", class: props.danger ? "danger" : "primary", disabled: !mayGo() }, props.busy ? "…" : props.yes),
          ]),
        ]),
      ]);
  },
};

/**
 * Ask with headers and a body of one's own (text), and take whatever is answered: a refusal is no error here.
 * Throws Refused where nothing can be asked or nobody answers (status 0), or the session is over.
 */
export async function askAnything(method, path, { headers = {}, text, signal } = {}) {
  let response;
  try {
    response = await fetch(`/page/rest${path}`, { method, signal, headers, body: text });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { message: "The server can't be reached. Try again when it is back." });
  }
  // What a target says of the key that it was shown says nothing of the visitor's.
  if (response.status === 401 && !response.headers.has("x-lamplighter-target")) {
    signIn();
    throw new Refused(401, { message: "You were signed out." });
  }
  return response;
}

/** What an answer refused, in the server's words. */
export function refusalOf(status, text) {
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // no JSON: its words are all there is
  }
  return new Refused(status, body === null ? { message: text.trim().slice(0, 2000) } : told(body));
}
