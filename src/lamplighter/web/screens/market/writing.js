// What has to be written into a configuration, or sent, to use an offer. Pure.

/** A name for an endpoint or a route, after a model's: small letters, digits and dashes, 32 at most. */
export function proposal(model) {
  const last = model.split("/").at(-1) || model;
  return last.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 32).replace(/^-+|-+$/g, "") || "model";
}

const PLAIN = /^[A-Za-z][A-Za-z0-9_./-]*$/;
const WORDS = new Set(["true", "false", "yes", "no", "on", "off", "null", "y", "n"]);

/** A text as a scalar of YAML. */
export const scalar = (text) => (PLAIN.test(text) && !WORDS.has(text.toLowerCase()) ? text : JSON.stringify(text));

const isRouters = (offer) => offer.quotes.some((quote) => quote.source === "router") || offer.source === "huggingface";

/** What leads to an offer that is not here yet: lines before the route, the target, and what is to be known of it. */
function way(offer, hardware) {
  if (offer.endpoint) return { lines: [], target: scalar(offer.endpoint), notes: [`${offer.endpoint} stands in this server already.`] };
  if (offer.kind === "hardware") return onHardware(offer, hardware);
  if (isRouters(offer)) {
    const pinned = scalar(`${offer.model}:${offer.provider}`);
    return {
      lines: ["upstreams:", "  router: {type: huggingface-router, key: env:HF_TOKEN}"],
      target: `{name: router, model: ${pinned}}`,
      notes: [`Hugging Face's router passes requests on to ${offer.provider}, and its account pays. If such an upstream stands in the file already, take its name.`],
    };
  }
  const name = proposal(offer.provider);
  return {
    lines: ["upstreams:", `  ${scalar(name)}:`, "    base_url: https://api.example.com/v1", `    key: env:${name.toUpperCase().replaceAll("-", "_")}_KEY`],
    target: `{name: ${scalar(name)}, model: ${scalar(offer.model)}}`,
    notes: [`Put the base URL of ${offer.provider}'s API in, and its key into the environment of the server.`],
  };
}

function onHardware(offer, hardware) {
  const name = proposal(offer.model);
  const place = hardware?.get(offer.hardware);
  if (!place || place.vendor === "local")
    return {
      lines: ["endpoints:", `  ${scalar(name)}:`, `    provider: ${scalar(offer.provider)}`, "    engine: vllm", `    model: ${scalar(offer.model)}`],
      target: scalar(name),
      notes: ["Take the engine that is installed on this machine: vllm, sglang, llamacpp, tei or transformers."],
    };
  return {
    lines: [
      "endpoints:",
      `  ${scalar(name)}:`,
      `    provider: ${scalar(offer.provider)}`,
      `    remote: my-org/${name}`,
      "    create: if-missing",
      "    deployment:",
      `      repository: ${scalar(offer.model)}`,
      ...["vendor", "region", "accelerator", "instance_type", "instance_size"].map((key) => `      ${key}: ${scalar(place[key])}`),
    ],
    target: scalar(name),
    notes: ["Put your namespace in the place of my-org. The first request makes the endpoint; until then it costs nothing. One that was deployed from here is a target by its name alone."],
  };
}

/** A route that leads to an offer, as YAML for lamplighter.yaml, with what is to be known of it. */
export function routeOf(offer, hardware) {
  const { lines, target, notes } = way(offer, hardware);
  const named = proposal(offer.model);
  const route = named === offer.endpoint || (offer.kind === "hardware" && !offer.endpoint) ? "assistant" : named;
  return { yaml: [...lines, "routes:", `  ${scalar(route)}:`, `    targets: [${target}]`, ""].join("\n"), route, notes };
}

/** The ways of serving a model: key, what it is called, the framework that is told, whether it needs an image's URL elsewhere. */
export const VARIANTS = {
  huggingface: { label: "Transformers", framework: "pytorch", url: false },
  vLLM: { label: "vLLM", framework: "custom", url: true },
  sGLang: { label: "SGLang", framework: "custom", url: true },
  llamacpp: { label: "llama.cpp", framework: "llamacpp", url: true },
  tei: { label: "Text Embeddings Inference", framework: "custom", url: true },
};

/** The body of `POST /v2/endpoint/{namespace}` for a form. */
export function bodyOf(form, place) {
  const fields = {};
  if (form.url) fields.url = form.url;
  if (form.variant === "llamacpp" && form.file) fields.modelPath = form.file;
  return {
    name: form.name,
    type: form.type,
    provider: { vendor: place.vendor, region: place.region },
    compute: {
      accelerator: place.accelerator,
      instanceType: place.instance_type,
      instanceSize: place.instance_size,
      scaling: { minReplica: form.awake ? 1 : 0, maxReplica: 1, scaleToZeroTimeout: form.awake || form.idle === "" ? null : Number(form.idle) },
    },
    model: { repository: form.repository, framework: VARIANTS[form.variant].framework, revision: null, image: { [form.variant]: fields } },
    tags: [],
  };
}

/** The listing of hardware by id, flat. */
export function byId(listing) {
  const found = new Map();
  for (const vendor of listing.vendors)
    for (const region of vendor.regions)
      for (const one of region.computes)
        found.set(one.id, {
          id: one.id,
          vendor: vendor.name,
          region: region.name,
          accelerator: one.accelerator,
          instance_type: one.instanceType,
          instance_size: one.instanceSize,
          status: one.status,
          price: one.pricePerHour,
          source: one.lamplighter?.priceSource ?? null,
          age: one.lamplighter?.priceAge ?? null,
          memory: one.gpuMemoryGb ?? one.memoryGb,
          left: one.quota.maxAccelerators - one.quota.usedAccelerators,
        });
  return found;
}
