// What the three ways to ask have in common: fields, the model to ask, and what was refused with a way out.
import { h, onBeforeUpdate, onUpdated, reactive, ref } from "vue";
import { Lamp, askJson, duration, phaseOf } from "lamplighter/assets/kit.js";
import { nextThing } from "lamplighter/screens/endpoints/figures.js";
import { rowOf } from "lamplighter/screens/playground/figures.js";

/** What can be asked, as GET /v1/models tells this visitor. */
export const models = reactive({ list: [], loaded: false, problem: null });

export async function loadModels() {
  try {
    models.list = (await askJson("GET", "/v1/models")).data;
    models.problem = null;
    models.loaded = true;
  } catch (error) {
    models.problem = error.message;
  }
}

/** The endpoint that a request for a model goes to first, as the board has it; null where that is an upstream. */
export function firstRow(name) {
  const known = models.list.find((one) => one.id === name);
  if (!known?.targets) return rowOf(name);
  return known.targets.map(rowOf).find(Boolean) ?? null;
}

const option = (one, chosen) => h("option", { value: one.id, selected: one.id === chosen }, one.model && one.model !== one.id ? `${one.id} · ${one.model}` : one.id);

/** The model or route to ask, with how it is now. */
export const ModelChoice = (props, { emit }) => {
  const known = models.list.find((one) => one.id === props.value);
  const endpoints = models.list.filter((one) => !one.targets);
  const routes = models.list.filter((one) => one.targets);
  const row = firstRow(props.value);
  return h("div", { class: "play-model" }, [
    h("label", { class: "choice" }, [
      h("span", "Model"),
      h("select", { value: props.value, onChange: (event) => emit("pick", event.target.value) }, [
        !known && h("option", { value: props.value, selected: true }, props.value || "choose one"),
        endpoints.length ? h("optgroup", { label: "Endpoints" }, endpoints.map((one) => option(one, props.value))) : null,
        routes.length ? h("optgroup", { label: "Routes" }, routes.map((one) => option(one, props.value))) : null,
      ]),
    ]),
    row && h("p", { class: ["play-state", phaseOf(row)] }, [h(Lamp, { phase: phaseOf(row) }), h("span", [known?.targets && `${row.name}: `, h("strong", { class: "phase" }, phaseOf(row)), ` ${nextThing(row)}`])]),
    known?.targets && h("p", { class: "quiet" }, `route to ${known.targets.join(", ")}`),
  ]);
};
ModelChoice.props = ["value"];
ModelChoice.emits = ["pick"];

let fields = 0;

/** A field with its label. `multi`: of several lines. */
export const Field = {
  props: ["label", "value", "multi", "rows", "placeholder", "help", "attributes", "disabled"],
  emits: ["write"],
  setup(props, { emit }) {
    const id = `play-field-${++fields}`;
    return () =>
      h("div", { class: "play-field" }, [
        h("label", { for: id }, props.label),
        h(props.multi ? "textarea" : "input", {
          id,
          value: props.value,
          rows: props.multi ? (props.rows ?? 3) : undefined,
          placeholder: props.placeholder,
          disabled: props.disabled,
          "aria-describedby": props.help ? `${id}-help` : undefined,
          autocomplete: "off",
          ...props.attributes,
          onInput: (event) => emit("write", event.target.value),
        }),
        props.help && h("p", { id: `${id}-help`, class: "quiet" }, props.help),
      ]);
  },
};

/** The button that sends, and while it is answered the one that stops. The focus stays with whichever is there. */
export const Go = {
  props: ["busy", "label", "disabled"],
  emits: ["stop"],
  setup(props, { emit }) {
    const place = ref(null);
    let had = false;
    onBeforeUpdate(() => (had = place.value.contains(document.activeElement)));
    onUpdated(() => had && !place.value.contains(document.activeElement) && place.value.querySelector("button").focus());
    return () =>
      h("span", { ref: place, class: "play-go" }, [
        props.busy
          ? h("button", { type: "button", key: "stop", onClick: () => emit("stop") }, "Stop")
          : h("button", { type: "submit", key: "send", class: "primary", disabled: props.disabled }, props.label),
      ]);
  },
};

const isPaused = (problem) => /paused/i.test(`${problem.code} ${problem.message}`);

/** What to do about a refusal, in a few words. */
function advice(problem, waited) {
  if (problem.status === 402) return "A budget is spent: raise its limit, or wait until it renews.";
  if (isPaused(problem)) return "Resume it first.";
  if (problem.status === 504 || /timeout|deadline/.test(problem.code)) return waited ? "Wait longer, or try again: what was woken goes on starting." : "Try again: what was woken goes on starting.";
  if (problem.status === 404) return "Choose another model.";
  if (problem.status === 429) return "It is asked too much: try again later.";
  return "";
}

/** A refusal in its place: the server's words, when to try again, and the way out. */
export const Problem = (props, { emit }) => {
  const { problem } = props;
  const words = [problem.status >= 400 && problem.status, problem.code].filter(Boolean).join(" ");
  const next = [advice(problem, props.limited), problem.retryAfter && `It may be otherwise in ${duration(problem.retryAfter)}.`].filter(Boolean).join(" ");
  const paused = props.row && isPaused(problem);
  return h("div", { class: "problem play-problem", role: "alert" }, [
    h("p", [words && h("strong", `${words}: `), problem.message]),
    next && h("p", next),
    (props.again || paused) &&
      h("div", { class: "play-row" }, [
        props.again && h("button", { type: "button", onClick: () => emit("again") }, "Try again"),
        paused && props.link(`/?q=${encodeURIComponent(props.row.name)}`, {}, `Show ${props.row.name} among the endpoints`),
      ]),
  ]);
};
Problem.props = ["problem", "again", "row", "link", "limited"];
Problem.emits = ["again"];
