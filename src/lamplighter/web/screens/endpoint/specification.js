// What an endpoint was told to be. One that was deployed can be changed here, after looking at the difference.
import { computed, h, onMounted, ref, shallowRef } from "vue";
import { askJson } from "lamplighter/assets/kit.js";
import { change, changeable, changed, lines, written } from "lamplighter/screens/endpoint/difference.js";

const SIGNS = { "+": "added", "-": "removed", " ": "the same", "…": "left out" };

const Difference = (props) =>
  h(
    "ol",
    { class: "difference", "aria-label": "What changes", tabindex: 0 },
    lines(props.before, props.after).map(([sign, text], at) =>
      h("li", { class: { "+": "more", "-": "less", "…": "gap" }[sign], key: at }, [h("span", { "aria-hidden": "true" }, `${sign} `), h("span", { class: "hidden" }, `${SIGNS[sign]}: `), text]),
    ),
  );
Difference.props = ["before", "after"];

/** One that was made over the management API. */
const Deployed = {
  props: ["name", "namespace", "mayChange"],
  setup(props) {
    const base = shallowRef(null);
    const text = ref("");
    const step = ref("look"); // look, edit, compare
    const problem = ref(null);
    const done = ref(null);
    const busy = ref(false);
    const path = `/v2/endpoint/${encodeURIComponent(props.namespace)}/${encodeURIComponent(props.name)}`;

    const load = async () => changeable(await askJson("GET", path));
    const attempt = async (work) => {
      busy.value = true;
      problem.value = null;
      try {
        await work();
      } catch (error) {
        problem.value = error.message;
      } finally {
        busy.value = false;
      }
    };
    const read = () =>
      attempt(async () => {
        base.value = await load();
        text.value = written(base.value);
      });
    onMounted(read);

    const before = computed(() => (base.value ? written(base.value) : ""));
    const wanted = computed(() => {
      try {
        const document = JSON.parse(text.value);
        return document && typeof document === "object" && !Array.isArray(document) ? { document } : { problem: "It has to be a JSON object." };
      } catch (error) {
        return { problem: `This is no JSON: ${error.message}` };
      }
    });
    const asked = computed(() => (wanted.value.document ? change(base.value, wanted.value.document) : null));
    const isChanged = computed(() => Boolean(asked.value && Object.keys(asked.value.body).length));

    const edit = () => {
      done.value = null;
      step.value = "edit";
    };
    const leave = () => {
      text.value = before.value;
      problem.value = null;
      step.value = "look";
    };
    const apply = () =>
      attempt(async () => {
        const now = await load();
        if (written(now) !== before.value) {
          text.value = written(changed(now, asked.value.body));
          base.value = now;
          throw new Error("Somebody else changed it meanwhile. This is your change on top of theirs: look at it, then apply.");
        }
        base.value = changeable(await askJson("PUT", path, { body: asked.value.body }));
        text.value = written(base.value);
        step.value = "look";
        done.value = "Applied. What runs is replaced when nothing is in flight; requests wait for the new one.";
      });

    const looking = () => [
      h("div", { class: "tools" }, [
        props.mayChange
          ? h("button", { type: "button", onClick: edit }, "Edit")
          : h("span", { class: "quiet" }, "A key whose role is 'admin' can change it."),
        h("span", { class: "quiet" }, "It was deployed over the management API. Secrets are not shown."),
      ]),
      done.value ? h("p", { class: "done", role: "status" }, done.value) : null,
      h("pre", { tabindex: 0, "aria-label": "Specification" }, before.value),
    ];
    const editing = () => [
      h("label", { for: "endpoint-document" }, "Specification, as JSON. What is left out stays as it is; a secret that is empty stays what it was."),
      h("textarea", {
        id: "endpoint-document",
        rows: Math.min(40, text.value.split("\n").length + 1),
        spellcheck: "false",
        autocomplete: "off",
        "aria-invalid": wanted.value.problem ? "true" : undefined,
        "aria-describedby": "endpoint-document-problem",
        value: text.value,
        onInput: (event) => (text.value = event.target.value),
      }),
      h("p", { id: "endpoint-document-problem", class: wanted.value.problem ? "problem" : "quiet" }, wanted.value.problem ?? (isChanged.value ? "" : "Nothing is changed yet.")),
      h("div", { class: "answers" }, [
        h("button", { type: "button", onClick: leave }, "Cancel"),
        h("button", { type: "button", class: "primary", disabled: !isChanged.value, onClick: () => (step.value = "compare") }, "Show the difference"),
      ]),
    ];
    const comparing = () => [
      h("h3", "What changes"),
      h(Difference, { before: before.value, after: text.value }),
      asked.value.leftOut.length ? h("p", { class: "quiet" }, `Left out, so it stays as it is: ${asked.value.leftOut.join(", ")}.`) : null,
      h("p", { class: "quiet" }, "What runs is replaced when nothing is in flight, if it has to be; requests wait for the new one, and pay its cold start."),
      h("div", { class: "answers" }, [
        h("button", { type: "button", onClick: () => (step.value = "edit") }, "Back"),
        h("button", { type: "button", class: "primary", disabled: busy.value || !isChanged.value, onClick: apply }, busy.value ? "…" : "Apply"),
      ]),
    ];
    return () => [
      problem.value ? h("p", { class: "problem", role: "alert" }, problem.value) : null,
      base.value === null
        ? problem.value
          ? h("button", { type: "button", onClick: read }, "Try again")
          : h("p", { class: "quiet" }, "Looking…")
        : { look: looking, edit: editing, compare: comparing }[step.value](),
    ];
  },
};

const Configured = (props) => {
  const { found } = props;
  return [
    h("p", [
      "It stands in the configuration, ",
      found.configured_in ? h("code", found.configured_in) : "which this server does not name",
      ", and is changed there: edit ",
      h("code", `endpoints.${found.name}`),
      ", then send the server a SIGHUP. A file with a mistake is refused as a whole, and the old one stays in force.",
    ]),
    h("p", { class: "quiet" }, "Defaults stand in it, too. Of environment variables and headers only the names are shown."),
    h("pre", { tabindex: 0, "aria-label": "Specification" }, written(found.specification)),
  ];
};
Configured.props = ["found"];

export const Specification = {
  props: ["name", "facts"],
  setup(props) {
    const found = shallowRef(null);
    const problem = ref(null);
    const load = async () => {
      problem.value = null;
      try {
        found.value = await askJson("GET", `/api/endpoints/${encodeURIComponent(props.name)}/specification`);
      } catch (error) {
        problem.value = error.message;
      }
    };
    onMounted(load);
    const inner = () => {
      if (problem.value) return [h("p", { class: "problem", role: "alert" }, problem.value), h("button", { type: "button", onClick: load }, "Try again")];
      if (!found.value) return h("p", { class: "quiet" }, "Looking…");
      if (!found.value.deployed) return h(Configured, { found: found.value });
      return h(Deployed, { name: props.name, namespace: props.facts.namespace, mayChange: props.facts.role === "admin" });
    };
    return () => h("section", { class: "specification", "aria-label": "Specification" }, inner());
  },
};
