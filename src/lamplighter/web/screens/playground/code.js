// A request as code to take along: what it writes can be run as it is. The key stands in the environment, never in the text.
import { h, ref } from "vue";

const KEY = "LAMPLIGHTER_KEY";

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const headersOf = (request) => Object.entries({ ...(request.json === undefined ? {} : { "content-type": "application/json" }), ...request.headers });
const bodyOf = (request) => (request.json === undefined ? request.text : JSON.stringify(request.json, null, 2));

/** A value of JSON as Python writes it. */
export function python(value, indent = "") {
  const inner = `${indent}    `;
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const parts = Array.isArray(value) ? value.map((one) => python(one, inner)) : Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${python(one, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return parts.length ? `${open}\n${parts.map((part) => `${inner}${part},\n`).join("")}${indent}${close}` : open + close;
}

/** As a command of curl. `request`: method, url, headers, and json or text. */
export function asCurl(request, keyed) {
  const body = bodyOf(request);
  const lines = [request.method === "HEAD" ? `curl -I ${shell(request.url)}` : `curl ${request.json?.stream ? "-N " : ""}-X ${request.method} ${shell(request.url)}`];
  if (keyed) lines.push(`-H "Authorization: Bearer $${KEY}"`);
  for (const [name, value] of headersOf(request)) lines.push(`-H ${shell(value === "" ? `${name};` : `${name}: ${value}`)}`);
  if (body) lines.push(`--data-raw ${shell(body)}`);
  return lines.join(" \\\n  ");
}

/** As Python, which needs no package. */
export function asPython(request, keyed) {
  const { stream, stream_options: _, ...json } = request.json ?? {};
  const pairs = headersOf(request).map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)},\n`);
  if (keyed) pairs.push(`    "Authorization": "Bearer " + os.environ["${KEY}"],\n`);
  const body = request.json !== undefined ? `json.dumps(${python(json)}).encode()` : request.text ? `${JSON.stringify(request.text)}.encode()` : "None";
  const told = request.tells?.python ?? "print(answer.read().decode())";
  const imports = [(request.json !== undefined || told.includes("json.")) && "import json", keyed && "import os", "import urllib.request"].filter(Boolean).join("\n");
  return `${imports}

request = urllib.request.Request(
    ${JSON.stringify(request.url)},
    method=${JSON.stringify(request.method)},
    headers={${pairs.length ? `\n${pairs.join("").replaceAll(/^/gm, "    ").trimEnd()}\n    ` : ""}},
    data=${body.replaceAll("\n", "\n    ")},
)
with urllib.request.urlopen(request) as answer:
    ${told}
`;
}

/** As JavaScript, for browsers' fetch and that of Node. */
export function asJavaScript(request, keyed) {
  const { stream, stream_options: _, ...json } = request.json ?? {};
  const pairs = headersOf(request).map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)},\n`);
  if (keyed) pairs.push(`    Authorization: \`Bearer \${process.env.${KEY}}\`,\n`);
  const body = request.json !== undefined ? `  body: JSON.stringify(${JSON.stringify(json, null, 2).replaceAll("\n", "\n  ")}),\n` : request.text ? `  body: ${JSON.stringify(request.text)},\n` : "";
  return `const answer = await fetch(${JSON.stringify(request.url)}, {
  method: ${JSON.stringify(request.method)},
  headers: {${pairs.length ? `\n${pairs.join("")}  ` : ""}},
${body}});
${request.tells?.javascript ?? "console.log(answer.status, await answer.text());"}
`;
}

const FORMS = { curl: asCurl, Python: asPython, JavaScript: asJavaScript };

/** What would be sent now, as code; `request` is a function, so that nothing is written before it is wanted. */
export const AsCode = {
  props: ["request", "keyed"],
  setup(props) {
    const form = ref("curl");
    const open = ref(false);
    const said = ref("");
    const shown = ref(null);
    const copy = async (text) => {
      try {
        await navigator.clipboard.writeText(text);
        said.value = `Copied as ${form.value}.`;
      } catch {
        // No clipboard without HTTPS: the text is marked, and the keyboard copies it.
        getSelection().selectAllChildren(shown.value);
        said.value = "This browser gives no clipboard here: it is selected, copy it with the keyboard.";
      }
    };
    return () => {
      const text = open.value ? FORMS[form.value](props.request(), props.keyed) : "";
      return h("details", { class: "play-code", onToggle: (event) => (open.value = event.target.open) }, [
        h("summary", "As code: curl, Python, JavaScript"),
        open.value && [
          h("div", { class: "play-row" }, [
            h(
              "div",
              { class: "switch", role: "group", "aria-label": "Language" },
              Object.keys(FORMS).map((one) => h("button", { type: "button", "aria-pressed": String(form.value === one), onClick: () => { form.value = one; said.value = ""; } }, one)),
            ),
            h("button", { type: "button", onClick: () => copy(text) }, `Copy as ${form.value}`),
            h("span", { class: "quiet", role: "status" }, said.value),
          ]),
          h("pre", { ref: shown, tabindex: "0", role: "region", "aria-label": `The request as ${form.value}` }, text),
          props.keyed && h("p", { class: "quiet" }, [h("code", `$${KEY}`), " stands for your key: the page holds none."]),
        ],
      ]);
    };
  },
};
