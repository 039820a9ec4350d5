// Windows over the list: what to write into the configuration, and making an endpoint.
import { computed, h, onBeforeUnmount, onMounted, reactive, ref, shallowRef } from "vue";
import { ask, askJson, duration, money } from "lamplighter/assets/kit.js";
import { ago, dollars, fit, from } from "lamplighter/screens/market/figures.js";
import { VARIANTS, bodyOf, proposal, routeOf } from "lamplighter/screens/market/writing.js";

/** A window that takes the focus while it is open, and gives it back. */
const Dialog = {
  props: ["title", "wide"],
  emits: ["close"],
  setup(props, { emit, slots }) {
    const dialog = ref(null);
    let before = null;
    onMounted(() => {
      before = document.activeElement;
      dialog.value.showModal();
    });
    onBeforeUnmount(() => {
      dialog.value.close();
      if (before?.isConnected) before.focus();
    });
    return () =>
      h("dialog", { ref: dialog, class: "question market-window", "aria-labelledby": "market-window-title", onCancel: (event) => { event.preventDefault(); emit("close"); } }, [
        h("h2", { id: "market-window-title" }, props.title),
        slots.default(),
      ]);
  },
};

/** The YAML that makes a route lead to an offer. The file is not touched: whoever runs the server decides. */
export const RouteWindow = {
  props: ["offer", "hardware"],
  emits: ["close"],
  setup(props, { emit }) {
    const text = computed(() => routeOf(props.offer, props.hardware));
    const said = ref("");
    const code = ref(null);
    const copy = async () => {
      try {
        await navigator.clipboard.writeText(text.value.yaml);
        said.value = "Copied.";
      } catch {
        getSelection().selectAllChildren(code.value);
        said.value = "The browser does not let this page copy. The text is marked: copy it with the keyboard.";
      }
    };
    return () =>
      h(Dialog, { title: `Use ${props.offer.model} from ${from(props.offer)} in a route`, onClose: () => emit("close") }, () => [
        h("p", ["This goes into ", h("code", "lamplighter.yaml"), "; the page does not change that file. Where a heading stands there already, put the lines below it."]),
        h("pre", { ref: code, class: "yaml", tabindex: "0", "aria-label": "YAML of the route" }, text.value.yaml),
        text.value.notes.map((note) => h("p", { class: "quiet" }, note)),
        h("p", { class: "quiet" }, [h("code", "lamplighter config check"), " says whether all is right; a SIGHUP makes the server take it. Clients then ask for the model ", h("code", text.value.route), "."]),
        h("p", { role: "status", class: said.value ? "" : "hidden" }, said.value),
        h("div", { class: "answers" }, [h("button", { type: "button", onClick: () => emit("close") }, "Close"), h("button", { type: "button", class: "primary", onClick: copy }, "Copy")]),
      ]);
  },
};

/** What hardware there is for a model, the cheapest first, each with its price and whether the model fits. */
function choicesOf(hardware, offers) {
  const fits = new Map(offers.filter((one) => !one.endpoint && one.hardware).map((one) => [one.hardware, one]));
  const known = fits.size ? [...hardware.values()].filter((one) => fits.has(one.id)) : [...hardware.values()];
  return known
    .map((place) => {
      const offer = fits.get(place.id) ?? null;
      const quote = offer?.quotes.find((one) => one.unit === "replica_hour") ?? null;
      return { place, offer, amount: quote ? Number(quote.amount) : place.price || null, quote };
    })
    .sort((a, b) => (a.amount ?? Infinity) - (b.amount ?? Infinity) || (a.place.id < b.place.id ? -1 : 1));
}

const priceWord = (choice) => (choice.amount === null ? "no price is known" : `${choice.quote ? dollars(choice.quote.amount) : money(choice.amount)} an hour`);

function priceSource({ quote, place }) {
  if (quote) return `${quote.source}, ${ago(quote.at)}`;
  return place.source && place.age !== null ? `${place.source}, ${duration(place.age)} ago` : "";
}

/** What was refused, without the words of its status before it. */
const refusal = (error) => `${error.message.replace(/^[A-Z][A-Za-z ]{2,30}: /, "")}${error.retryAfter ? ` Try again in ${duration(error.retryAfter)}.` : ""}`;

const field = (key, label, control, note) => h("div", { class: "field" }, [h("label", { for: `deploy-${key}` }, label), control, note && h("small", { class: "quiet", id: `deploy-${key}-note` }, note)]);

/** Make an endpoint over the management API, after saying what it will cost. */
export const DeployWindow = {
  props: ["offer", "hardware", "namespace"],
  emits: ["close", "made"],
  setup(props, { emit }) {
    const form = reactive({ name: proposal(props.offer.model), repository: props.offer.model, hardware: props.offer.hardware ?? "", variant: "huggingface", url: "", file: "", idle: "", awake: false, type: "authenticated" });
    const choices = shallowRef(null);
    const problem = shallowRef(null);
    const busy = ref(false);

    const load = async () => {
      problem.value = null;
      try {
        const query = new URLSearchParams({ model: props.offer.model, kind: "hardware", limit: 1000 });
        choices.value = choicesOf(props.hardware, (await askJson("GET", `/api/offers?${query}`)).offers);
      } catch {
        choices.value = choicesOf(props.hardware, []); // the fit is not known then, and says so
      }
      if (!choices.value.some((one) => one.place.id === form.hardware)) form.hardware = choices.value[0]?.place.id ?? "";
      if (chosen()?.place.vendor === "local") form.variant = "llamacpp";
    };
    const chosen = () => choices.value?.find((one) => one.place.id === form.hardware) ?? null;
    onMounted(load);

    const needsUrl = () => chosen() && chosen().place.vendor !== "local" && VARIANTS[form.variant].url;
    const wrong = (...keys) => Boolean(problem.value && keys.some((key) => problem.value.message.includes(`${key}:`)));

    const make = async () => {
      busy.value = true;
      problem.value = null;
      try {
        await ask("POST", `/v2/endpoint/${encodeURIComponent(props.namespace)}`, { body: bodyOf(form, chosen().place) });
        emit("made", form.name);
      } catch (error) {
        problem.value = error;
      } finally {
        busy.value = false;
      }
    };

    const input = (key, more, ...members) =>
      h("input", { id: `deploy-${key}`, value: form[key], autocomplete: "off", spellcheck: "false", "aria-invalid": wrong(...members) ? "true" : undefined, onInput: (event) => (form[key] = event.target.value), ...more });
    const select = (key, options, ...members) =>
      h("select", { id: `deploy-${key}`, value: form[key], "aria-invalid": wrong(...members) ? "true" : undefined, onChange: (event) => (form[key] = event.target.value) }, options.map(([value, label]) => h("option", { value, selected: value === form[key] }, label)));

    const hardwareLabel = (one) => `${one.place.id} · ${priceWord(one)}${one.place.left > 0 || one.place.accelerator === "cpu" ? "" : " · no quota left"}${one.place.status === "available" ? "" : ` · ${one.place.status}`}`;

    const means = (choice) =>
      h("dl", [
        h("dt", "Cost"),
        h("dd", [
          h("strong", choice.amount === null ? "Not known: nobody told a price." : `${priceWord(choice)} while awake`),
          choice.amount === null ? null : form.awake ? ", and it is always awake." : ", from the moment it is made until it sleeps; nothing while it sleeps.",
          priceSource(choice) ? h("span", { class: "quiet" }, ` Told by ${priceSource(choice)}.`) : null,
        ]),
        h("dt", "Fit"),
        h("dd", choice.offer?.fit ? `${fit(choice.offer)}. Long contexts and many requests at once take more.` : "Not known: the model's size was not told."),
        h("dt", "Quota"),
        h("dd", "It takes its hardware until it is paused or deleted."),
        h("dt", "Undo"),
        h("dd", "Pause or delete it, under Endpoints."),
      ]);

    const body = () => {
      const choice = chosen();
      if (!choices.value) return h("p", { class: "quiet", "aria-busy": "true" }, "Looking what it fits on…");
      if (!choice) return h("p", "No provider of this server has hardware that this model fits on now.");
      return [
        field("name", "Name", input("name", { required: true, maxlength: 32, "aria-describedby": "deploy-name-note" }, "name"), "Small letters, digits and dashes. Clients ask for the model by it."),
        field("repository", "Repository", input("repository", { required: true }, "model.repository"), null),
        field("hardware", "Hardware", select("hardware", choices.value.map((one) => [one.place.id, hardwareLabel(one)]), "provider.vendor", "provider.region", "compute.instanceType", "compute.instanceSize", "compute.accelerator"), null),
        field("variant", "Served by", select("variant", Object.entries(VARIANTS).map(([key, one]) => [key, one.label]), "model.image"), null),
        form.variant === "llamacpp" && field("file", "GGUF file", input("file", { placeholder: "model-q8_0.gguf", "aria-describedby": "deploy-file-note" }, "model.image.llamacpp.modelPath"), "A file of the repository. Not needed for a model that Lamplighter knows."),
        needsUrl() && field("url", "Image", input("url", { required: true, placeholder: "vllm/vllm-openai:latest" }, "model.image"), null),
        field("type", "May be called by", select("type", [["authenticated", "whoever shows a key"], ["private", "private"], ["public", "anybody, without a key"]], "type"), null),
        h("div", { class: "field" }, [h("label", [h("input", { type: "checkbox", checked: form.awake, onChange: (event) => (form.awake = event.target.checked) }), " always awake"])]),
        !form.awake && field("idle", "Sleeps after", h("span", [input("idle", { type: "number", min: 15, max: 2880, placeholder: "default", "aria-describedby": "deploy-idle-note" }, "compute.scaling.scaleToZeroTimeout"), " minutes"]), "15 to 2880 without a request; empty: the default of this server."),
        means(choice),
      ];
    };

    return () =>
      h(Dialog, { title: `Deploy ${props.offer.model}`, onClose: () => emit("close") }, () =>
        h("form", { method: "dialog", onSubmit: (event) => { event.preventDefault(); if (!busy.value && chosen()) make(); } }, [
          body(),
          problem.value && h("p", { class: "problem", role: "alert" }, refusal(problem.value)),
          h("div", { class: "answers" }, [
            h("button", { type: "button", onClick: () => emit("close") }, "Cancel"),
            h("button", { type: "submit", class: "primary", disabled: busy.value || !chosen() }, busy.value ? "…" : chosen()?.amount ? `Deploy for ${priceWord(chosen())}` : "Deploy"),
          ]),
        ]),
      );
  },
};
