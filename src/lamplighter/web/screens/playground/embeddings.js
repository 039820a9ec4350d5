// Texts, and how near their vectors are to each other.
import { h, shallowReactive } from "vue";
import { Refused, count } from "lamplighter/assets/kit.js";
import { AsCode } from "lamplighter/screens/playground/code.js";
import { Figures, Waiting, learnPrice } from "lamplighter/screens/playground/figures.js";
import { heat, similarities, vectorsOf } from "lamplighter/screens/playground/matrix.js";
import { Field, Go, Problem, firstRow } from "lamplighter/screens/playground/parts.js";
import { isOver, newRun, refusal, send, stop, takeUsage, wholeText } from "lamplighter/screens/playground/run.js";

const PATH = "/v1/embeddings";
const MOST = 64; // texts: each is compared with each

const state = shallowReactive({ text: "A lamp is lit at dusk.\nThe lantern burns all night.\nTaxes are due in April.", run: null, found: null, texts: [], problem: null });

export const leaveEmbeddings = () => state.run && stop(state.run);

const lines = () => state.text.split("\n").map((line) => line.trim()).filter(Boolean);

async function read(run, response, texts) {
  if (!response.ok) return ["failed", await refusal(run, response)];
  const text = await wholeText(run, response);
  try {
    const answer = JSON.parse(text);
    takeUsage(run, answer.usage);
    const vectors = vectorsOf(answer, texts.length);
    if (state.run === run) Object.assign(state, { found: { rows: similarities(vectors), size: vectors[0].length }, texts });
  } catch (error) {
    return ["failed", new Refused(run.status, { message: error instanceof SyntaxError ? `The answer is no JSON: ${text.slice(0, 300)}` : error.message })];
  }
  return ["done"];
}

async function ask(model) {
  const texts = lines();
  state.problem = texts.length > MOST ? `${count(texts.length)} texts are more than the ${MOST} that are compared here.` : null;
  if (state.problem || !texts.length || !model) return;
  const run = newRun(model);
  Object.assign(state, { run, found: null });
  const options = { headers: { "content-type": "application/json" }, text: JSON.stringify({ model, input: texts }) };
  await send(run, "POST", PATH, options, (one, response) => read(one, response, texts));
  learnPrice(run.target);
  document.querySelector(".play-embeddings > section")?.scrollIntoView({ block: "nearest" }); // on a narrow screen it is below
}

/** How near each is to each: the number says it, the warmth of a cell says it again. */
const Matrix = (props) => {
  const { rows, size } = props.found;
  const warmth = heat(rows);
  const cell = (one, row, column) =>
    h("td", { key: column, style: { backgroundColor: `color-mix(in srgb, var(--flame) ${Math.round(warmth[row][column] * 42)}%, var(--surface))` } }, one === null ? "–" : one.toFixed(3));
  return h("div", { class: "play-matrix", tabindex: "0", role: "region", "aria-label": "How similar the texts are" }, [
    h("table", [
      h("caption", `Cosine of each pair, of vectors of ${count(size)} numbers: 1 is the same direction. The warmer, the nearer, from the least similar pair here on.`),
      h("thead", h("tr", [h("th", { scope: "col", class: "text" }, "Text"), ...rows.map((_, at) => h("th", { scope: "col", key: at, title: props.texts[at] }, String(at + 1)))])),
      h(
        "tbody",
        rows.map((row, at) => h("tr", { key: at }, [h("th", { scope: "row", class: "text", title: props.texts[at] }, [h("span", { class: "quiet" }, `${at + 1} `), props.texts[at]]), ...row.map((one, column) => cell(one, at, column))])),
      ),
    ]),
  ]);
};
Matrix.props = ["found", "texts"];

export const Embeddings = {
  props: ["model", "link", "keyed"],
  setup(props) {
    const request = () => ({
      method: "POST",
      url: location.origin + PATH,
      headers: {},
      json: { model: props.model, input: lines() },
      tells: {
        python: 'print([one["embedding"][:4] for one in json.load(answer)["data"]])',
        javascript: "console.log((await answer.json()).data.map((one) => one.embedding.slice(0, 4)));",
      },
    });
    return () => {
      const { run, found } = state;
      const busy = run && !isOver(run);
      return h("div", { class: "play-embeddings" }, [
        h("form", { onSubmit: (event) => { event.preventDefault(); ask(props.model); } }, [
          h(Field, { label: "Texts, one a line", multi: true, rows: 7, value: state.text, onWrite: (text) => (state.text = text) }),
          h("div", { class: "play-row" }, [
            h(Go, { busy, label: "Compare", disabled: !lines().length || !props.model, onStop: leaveEmbeddings }),
            h("span", { class: "quiet" }, lines().length === 1 ? "1 text" : `${count(lines().length)} texts`),
          ]),
          state.problem && h("p", { class: "problem", role: "alert" }, state.problem),
          h(AsCode, { request, keyed: props.keyed }),
        ]),
        h("section", { "aria-label": "Answer", "aria-busy": String(Boolean(busy)) }, [
          !run && h("p", { class: "quiet" }, "Each text becomes a vector, and the cosines of all pairs are shown here. It takes a model that embeds; llama.cpp does with `--embeddings` among its arguments."),
          busy && h(Waiting, { run, row: firstRow(run.model), model: run.model }),
          run?.state === "stopped" && h("p", { class: "play-end" }, "Stopped."),
          run?.problem && h(Problem, { problem: run.problem, again: true, row: firstRow(run.model), link: props.link, onAgain: () => ask(props.model) }),
          found && h(Matrix, { found, texts: state.texts }),
          run && h(Figures, { run }),
        ]),
      ]);
    };
  },
};
