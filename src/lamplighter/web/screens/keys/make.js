// The form of a new key, and its secret, which is shown once.
import { h, nextTick, onBeforeUnmount, onMounted, reactive, ref, shallowRef } from "vue";
import { askJson, holdSignIn } from "lamplighter/assets/kit.js";
import { EMPTY, fieldOf, read } from "lamplighter/screens/keys/form.js";

const ROLES = [
  ["infer", "calls models"],
  ["operate", "also wakes, puts to sleep, and looks"],
  ["admin", "may do everything"],
];

/** The key that was just made, with its secret; kept nowhere but here, until it is put away. */
export const made = shallowRef(null);

export const Form = {
  props: ["models", "isFirst"],
  emits: ["made", "close"],
  setup(props, { emit }) {
    const given = reactive({ ...EMPTY, role: props.isFirst ? "admin" : "infer" });
    const problems = ref({});
    const general = ref(null);
    const busy = ref(false);
    const form = ref(null);
    onMounted(() => form.value.querySelector("input").focus());

    const show = async (found, text = null) => {
      problems.value = found;
      general.value = text;
      await nextTick();
      form.value?.querySelector("[aria-invalid=true]")?.focus();
    };
    const make = async () => {
      const { body, problems: wrong } = read(given);
      if (Object.keys(wrong).length) return show(wrong);
      busy.value = true;
      holdSignIn(true); // the first key shuts out whoever has none: not before its secret was seen
      try {
        made.value = await askJson("POST", "/api/keys", { body });
        emit("made");
      } catch (error) {
        const field = fieldOf(error);
        await show(field ? { [field]: error.message } : {}, field ? null : error.message);
      } finally {
        busy.value = false;
        if (!made.value?.closed_server) holdSignIn(false);
      }
    };

    const field = (name, label, hint, attributes = {}, more = null) =>
      h("div", { class: ["field", attributes.class] }, [
        h("label", { for: `key-${name}` }, label),
        h("input", {
          autocomplete: "off",
          spellcheck: "false",
          ...attributes,
          class: null,
          id: `key-${name}`,
          value: given[name],
          "aria-invalid": problems.value[name] ? "true" : undefined,
          "aria-describedby": `key-${name}-hint`,
          onInput: (event) => (given[name] = event.target.value),
        }),
        h("p", { id: `key-${name}-hint`, class: "hint" }, [
          problems.value[name] ? h("span", { class: "wrong", role: "alert" }, problems.value[name]) : null,
          problems.value[name] ? " " : null,
          hint,
        ]),
        more,
      ]);

    const add = (name) => {
      const now = given.routes.split(/[\s,]+/).filter(Boolean);
      given.routes = (now.includes(name) ? now.filter((one) => one !== name) : [...now, name]).join(", ");
    };
    const suggestions = () => {
      const chosen = given.routes.split(/[\s,]+/);
      const some = props.models.slice(0, 12);
      return some.length
        ? h("div", { class: "suggestions", role: "group", "aria-label": "Endpoints here" }, some.map((name) => h("button", { type: "button", "aria-pressed": String(chosen.includes(name)), onClick: () => add(name) }, name)))
        : null;
    };
    const roles = () =>
      h("fieldset", { class: "field roles", "aria-describedby": problems.value.role ? "key-role-hint" : undefined }, [
        h("legend", "Role"),
        ROLES.map(([role, means]) =>
          h("label", [
            h("input", { type: "radio", name: "role", value: role, checked: given.role === role, onChange: () => (given.role = role) }),
            h("span", [h("strong", role), ` ${means}`]),
          ]),
        ),
        problems.value.role && h("p", { id: "key-role-hint", class: "hint" }, h("span", { class: "wrong", role: "alert" }, problems.value.role)),
      ]);

    return () =>
      h("form", { ref: form, class: "make", novalidate: true, "aria-labelledby": "make-title", onSubmit: (event) => { event.preventDefault(); if (!busy.value) make(); } }, [
        h("h2", { id: "make-title" }, "A new key"),
        props.isFirst && h("p", { class: "first" }, "It is the server's first key: from then on nobody comes in without one. It takes the role admin."),
        h("div", { class: "grid" }, [
          field("name", "Name", "What it does is on record under this."),
          field("expires_in", "Ends after", "12h, 30d. Nothing: never.", { placeholder: "never" }),
          roles(),
          h("div", { class: "field wakes" }, [
            h("span", { class: "label" }, "Sleeping models"),
            h("label", [
              h("input", { type: "checkbox", checked: given.may_wake, onChange: (event) => (given.may_wake = event.target.checked) }),
              h("span", "Its requests wake what sleeps"),
            ]),
          ]),
          field("routes", "Models it may call", "Names or aliases, with commas. Nothing: all that are here. organization/model calls that one elsewhere, with the server's token.", { class: "wide", placeholder: "all that are here" }, suggestions()),
          field("requests_per_minute", "Requests a minute", "Nothing: no bound.", { inputmode: "numeric", placeholder: "no bound" }),
          field("tokens_per_minute", "Tokens a minute", "In and out. Nothing: no bound.", { inputmode: "numeric", placeholder: "no bound" }),
          field("concurrent", "Requests at once", "Nothing: no bound.", { inputmode: "numeric", placeholder: "no bound" }),
          field("priority", "Priority", "-100 to 100: where requests wait, higher ones go first.", { inputmode: "numeric" }),
          field("tags", "Tags", "NAME=VALUE, with commas: whom its use is charged to.", { class: "wide", placeholder: "team=search" }),
        ]),
        general.value && h("p", { class: "problem", role: "alert" }, general.value),
        h("div", { class: "answers" }, [
          h("button", { type: "button", onClick: () => emit("close") }, "Cancel"),
          h("button", { type: "submit", class: "primary", disabled: busy.value }, busy.value ? "…" : "Make the key"),
        ]),
      ]);
  },
};

/** Copy a text; tells whether that worked. Browsers have no clipboard on pages that came without encryption. */
async function copy(text, field) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    field.select();
    return document.execCommand("copy");
  }
}

export const Secret = {
  emits: ["away"],
  setup(_, { emit }) {
    const box = ref(null);
    const field = ref(null);
    const told = ref("");
    const stay = (event) => event.preventDefault();
    onMounted(() => {
      addEventListener("beforeunload", stay);
      box.value.focus();
    });
    onBeforeUnmount(() => removeEventListener("beforeunload", stay));
    const onCopy = async () => {
      told.value = "";
      const worked = await copy(made.value.secret, field.value);
      told.value = worked ? "Copied." : "This browser lets nothing be copied here: it is marked, copy it by hand.";
    };
    const away = () => {
      removeEventListener("beforeunload", stay);
      emit("away");
    };
    return () =>
      h("section", { ref: box, class: "secret", tabindex: "-1", "aria-labelledby": "secret-title" }, [
        h("h2", { id: "secret-title" }, `The key ${made.value.key.name} is made`),
        h("p", [h("strong", "Copy it now: it is not shown again."), " It is kept nowhere, not on the server either. Who loses it makes a new one."]),
        h("div", { class: "line" }, [
          h("input", { ref: field, readonly: true, "aria-label": "The key's secret", value: made.value.secret, onFocus: (event) => event.target.select(), spellcheck: "false" }),
          h("button", { type: "button", class: "primary", onClick: onCopy }, "Copy"),
        ]),
        h("p", { class: "quiet", role: "status" }, told.value || "It is sent as Authorization: Bearer …, or as x-api-key."),
        made.value.closed_server && h("p", { class: "first" }, "It was the server's first key: nobody comes in without one any more. You will be asked for it next."),
        h("div", { class: "answers" }, [h("button", { type: "button", onClick: away }, made.value.closed_server ? "I have it: sign in" : "I have it: put it away")]),
      ]);
  },
};
