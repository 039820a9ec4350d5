// A conversation with a model. It is kept while the page is open, and nowhere else.
import { h, onBeforeUnmount, onMounted, ref, shallowReactive } from "vue";
import { AsCode } from "lamplighter/screens/playground/code.js";
import { Figures, Waiting, learnPrice } from "lamplighter/screens/playground/figures.js";
import { Field, Go, Problem, firstRow } from "lamplighter/screens/playground/parts.js";
import { isOver, newRun, readChat, send, stop } from "lamplighter/screens/playground/run.js";

const PATH = "/v1/chat/completions";

const chat = shallowReactive({ turns: [], draft: "", system: "", temperature: "", most: "", hold: "", problem: null });

const running = () => chat.turns.find((turn) => turn.run && !isOver(turn.run)) ?? null;

/** End what is being answered: who leaves can't see it. */
export const leaveChat = () => {
  const turn = running();
  if (turn) stop(turn.run);
};

/** A number that somebody typed; undefined where there is none. Throws what is wrong with it. */
function number(label, text, least, most) {
  if (text.trim() === "") return undefined;
  const value = Number(text);
  if (!Number.isFinite(value) || value < least || value > most) throw new Error(`${label} is a number from ${least} to ${most}.`);
  return value;
}

function messages(turns) {
  // What got no answer is left out with the answer: most models want each turn answered by the other.
  const silent = (turn) => turn?.run && !turn.run.text;
  const said = turns.filter((turn, at) => !silent(turn) && !(turn.text !== undefined && silent(turns[at + 1])));
  const spoken = said.map((turn) => (turn.run ? { role: "assistant", content: turn.run.text } : { role: "user", content: turn.text }));
  return chat.system.trim() ? [{ role: "system", content: chat.system }, ...spoken] : spoken;
}

/** What is sent for some turns. Throws what is wrong with the settings. */
function bodyOf(model, turns) {
  const body = { model, messages: messages(turns), stream: true, stream_options: { include_usage: true } };
  const temperature = number("Temperature", chat.temperature, 0, 5);
  const most = number("Max tokens", chat.most, 1, 10_000_000);
  if (temperature !== undefined) body.temperature = temperature;
  if (most !== undefined) body.max_tokens = Math.round(most);
  return body;
}

function headersOf() {
  const hold = number("The longest wait", chat.hold, 0, 86_400);
  return hold === undefined ? {} : { "x-scale-up-timeout": String(hold) };
}

/** Ask for an answer to the turns so far. */
async function answer(model) {
  let body, headers;
  try {
    [body, headers] = [bodyOf(model, chat.turns), headersOf()];
    chat.problem = null;
  } catch (error) {
    chat.problem = error.message;
    return false;
  }
  const run = newRun(model);
  chat.turns = [...chat.turns, { run }];
  const work = send(run, "POST", PATH, { headers: { "content-type": "application/json", ...headers }, text: JSON.stringify(body) }, readChat);
  work.then(() => learnPrice(run.target));
  return true;
}

const ENDS = { stopped: "Stopped here.", half: "This is half an answer." };

const Answer = (props, { emit }) => {
  const { run } = props;
  const row = firstRow(run.model);
  const waits = !isOver(run) && !run.text && !run.thought;
  return h("article", { class: ["play-turn", "theirs", run.state], "aria-label": `Answer of ${run.target ?? run.model}`, "aria-busy": String(!isOver(run)) }, [
    h("h3", run.target ?? run.model),
    waits && h(Waiting, { run, row, model: run.model }),
    run.thought && h("details", { class: "play-thought" }, [h("summary", "Thoughts"), h("p", { class: "play-text" }, run.thought)]),
    run.text && h("p", { class: "play-text" }, run.text),
    isOver(run) && !run.text && !run.problem && run.state === "done" && h("p", { class: "quiet" }, "The answer is empty."),
    run.cut && h("p", { class: "quiet" }, "The answer is longer than is shown here."),
    run.reason === "length" && h("p", { class: "quiet" }, "It ended at the most tokens that it may have."),
    ENDS[run.state] && h("p", { class: "play-end" }, ENDS[run.state]),
    run.problem && h(Problem, { problem: run.problem, again: props.last, row, link: props.link, limited: Boolean(chat.hold), onAgain: () => emit("again") }),
    h(Figures, { run, tokens: true }),
  ]);
};
Answer.props = ["run", "last", "link"];
Answer.emits = ["again"];

const Settings = () =>
  h("section", { class: "play-settings", "aria-label": "Settings of the chat" }, [
    h(Field, { label: "System text", multi: true, rows: 4, value: chat.system, placeholder: "How the model is to behave", onWrite: (text) => (chat.system = text) }),
    h("div", { class: "play-numbers" }, [
      h(Field, { label: "Temperature", value: chat.temperature, placeholder: "default", attributes: { inputmode: "decimal" }, onWrite: (text) => (chat.temperature = text) }),
      h(Field, { label: "Max tokens", value: chat.most, placeholder: "default", attributes: { inputmode: "numeric" }, onWrite: (text) => (chat.most = text) }),
      h(Field, { label: "Max wait (s)", value: chat.hold, placeholder: "default", attributes: { inputmode: "decimal" }, onWrite: (text) => (chat.hold = text) }),
    ]),
  ]);

export const Chat = {
  props: ["model", "link", "keyed"],
  setup(props) {
    const list = ref(null);
    const field = ref(null);
    const said = ref(null);
    let follows = true;
    // Whatever grows, or is made smaller: who was at the end stays there.
    const sizes = new ResizeObserver(() => follows && (list.value.scrollTop = list.value.scrollHeight));
    let top = 0;
    const scrolled = ({ target }) => {
      // What grew since is no wish to stay behind; going up is.
      if (target.scrollHeight - target.scrollTop - target.clientHeight < 40) follows = true;
      else if (target.scrollTop < top) follows = false;
      top = target.scrollTop;
    };
    onMounted(() => [list, said].forEach((one) => sizes.observe(one.value)));
    onBeforeUnmount(() => sizes.disconnect());

    const say = async () => {
      const text = chat.draft.trim();
      if (!text || running() || !props.model) return;
      const before = chat.turns;
      follows = true;
      chat.turns = [...before, { text }];
      if (await answer(props.model)) chat.draft = "";
      else chat.turns = before;
      field.value?.focus();
    };
    const again = () => {
      if (running()) return;
      chat.turns = chat.turns.slice(0, -1);
      answer(props.model);
    };
    const onKey = (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      say();
    };
    const request = () => {
      const turns = chat.draft.trim() ? [...chat.turns, { text: chat.draft.trim() }] : chat.turns;
      let json, headers;
      try {
        [json, headers] = [bodyOf(props.model, turns.length ? turns : [{ text: "Say hello." }]), headersOf()];
      } catch {
        [json, headers] = [{ model: props.model, messages: messages(turns) }, {}];
      }
      return {
        method: "POST",
        url: location.origin + PATH,
        headers,
        json,
        tells: { python: 'print(json.load(answer)["choices"][0]["message"]["content"])', javascript: "console.log((await answer.json()).choices[0].message.content);" },
      };
    };

    const composer = () =>
      h("form", { class: "play-composer", onSubmit: (event) => { event.preventDefault(); say(); } }, [
        h("label", { class: "hidden", for: "play-message" }, "Message"),
        h("textarea", { id: "play-message", ref: field, rows: 2, placeholder: "Message (Enter sends, Shift+Enter: a new line)", value: chat.draft, onInput: (event) => (chat.draft = event.target.value), onKeydown: onKey }),
        h(Go, { busy: Boolean(running()), label: "Send", disabled: !chat.draft.trim() || !props.model, onStop: () => { leaveChat(); field.value.focus(); } }),
      ]);

    const turn = (one, at) =>
      one.run
        ? h(Answer, { key: at, run: one.run, last: at === chat.turns.length - 1, link: props.link, onAgain: again })
        : h("article", { key: at, class: "play-turn mine", "aria-label": "You" }, [h("p", { class: "play-text" }, one.text)]);

    return () =>
      h("div", { class: "play-chat" }, [
        h("div", { class: "play-talk" }, [
          h(
            "div",
            { ref: list, class: "play-turns", tabindex: "0", role: "log", "aria-label": "Conversation", onScroll: scrolled },
            h("div", { ref: said, class: "play-said" }, chat.turns.length ? chat.turns.map(turn) : h("p", { class: "quiet play-first" }, "Write a message below. A model that sleeps is woken by it, and its answer waits until then.")),
          ),
          chat.problem && h("p", { class: "problem", role: "alert" }, chat.problem),
          composer(),
        ]),
        h("div", { class: "play-side" }, [
          h(Settings),
          h("button", { type: "button", disabled: !chat.turns.length || Boolean(running()), onClick: () => { chat.turns = []; field.value.focus(); } }, "New conversation"),
          h(AsCode, { request, keyed: props.keyed }),
        ]),
      ]);
  },
};
