// Ask a model: a chat, embeddings, or any request; and what that took and cost.
import { h, onBeforeUnmount, watch } from "vue";
import { useQuery } from "lamplighter/assets/kit.js";
import { board } from "lamplighter/assets/live.js";
import { Chat, leaveChat } from "lamplighter/screens/playground/chat.js";
import { Embeddings, leaveEmbeddings } from "lamplighter/screens/playground/embeddings.js";
import { ModelChoice, loadModels, models } from "lamplighter/screens/playground/parts.js";
import { Raw, leaveRaw } from "lamplighter/screens/playground/raw.js";

const WAYS = { chat: ["Chat", Chat], embeddings: ["Embeddings", Embeddings], raw: ["Raw request", Raw] };

export default {
  props: ["facts", "parameter", "go", "link"],
  setup(props) {
    const { state, set } = useQuery({ model: "", way: "chat" });
    loadModels();
    // Endpoints come and go: what there is to ask is asked for anew.
    watch(() => (board.number, [...board.rows.keys()].sort().join(" ")), loadModels);
    onBeforeUnmount(() => {
      leaveChat();
      leaveEmbeddings();
      leaveRaw();
    });
    const model = () => state.model || models.list[0]?.id || "";

    const ways = () =>
      h(
        "div",
        { class: "switch", role: "group", "aria-label": "Way to ask" },
        Object.entries(WAYS).map(([key, [label]]) => h("button", { type: "button", key, "aria-pressed": String(way() === key), onClick: () => set("way", key) }, label)),
      );
    const way = () => (state.way in WAYS ? state.way : "chat");

    const empty = () =>
      h("section", { class: "empty" }, [
        h("h1", "No model to ask yet"),
        h("p", ["An endpoint, or a route, is what can be asked here. Deploy one from a terminal, or give one in ", h("code", "lamplighter.yaml"), ":"]),
        h("pre", "lamplighter catalog deploy HuggingFaceTB/SmolLM2-135M-Instruct --name small"),
        h("p", { class: "quiet" }, "It appears here by itself."),
      ]);

    return () => {
      if (!models.loaded && models.problem)
        return h("section", { class: "empty" }, [h("p", { class: "problem", role: "alert" }, `What can be asked could not be read: ${models.problem}`), h("button", { type: "button", onClick: loadModels }, "Try again")]);
      if (!models.loaded) return h("section", { class: "loading", "aria-busy": "true" }, h("p", { class: "quiet" }, "Looking…"));
      if (!models.list.length) return empty();
      return h("div", { class: "playground" }, [
        h("h1", { class: "hidden" }, "Playground"),
        h("div", { class: "play-top" }, [ways(), h(ModelChoice, { value: model(), onPick: (value) => set("model", value) })]),
        h(WAYS[way()][1], { key: way(), model: model(), link: props.link, keyed: Boolean(props.facts.visitor) }),
      ]);
    };
  },
};
