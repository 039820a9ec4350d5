// What is wrong with an endpoint, and what can be done about it.
import { h } from "vue";

const ADVICE = [
  [/budget/i, "A budget is spent. Raise its limit in the configuration and reload, or wait until it renews."],
  [/quota/i, "Its account may not have more hardware of this kind. Put another endpoint to sleep, or ask the provider for more quota."],
  [/no such hardware|capacity|can't fit|no room/i, "There is no hardware free for it. Put another endpoint to sleep, try again later, or let it wake elsewhere (endpoints.NAME.elsewhere)."],
  [/token|unauthori[sz]ed|forbidden|not allowed|\b40[13]\b/i, "Its provider does not take the key it was shown. Check that with: lamplighter doctor"],
  [/payment|credit|\b402\b/i, "Its provider wants to be paid first. Look into the account there."],
  [/reach|timed? ?out|resolve|connect/i, "Its provider, or the engine, could not be reached. Check that with: lamplighter doctor"],
  [/memory|oom|killed/i, "It may need more memory than there is. Give it larger hardware or a smaller model."],
  [/exit|engine|start|crash|port/i, "Its engine did not come up. The last lines of its log say why."],
];

/** What is wrong, and what to do, or null: `{what, todo}`. */
export function troubleOf(row) {
  if (row.status === "error") {
    const told = row.message ?? "It failed, and its provider did not say why.";
    const advice = ADVICE.filter(([pattern]) => pattern.test(told)).map(([, text]) => text.replace("NAME", row.name));
    return { what: told, todo: [...advice.slice(0, 2), ...(advice.length ? [] : ["Look into its log, then try again."])], wake: true };
  }
  if (row.status === "unknown")
    return {
      what: row.message ?? "Its provider can't be asked how it is.",
      todo: ["What runs is served on; nothing is woken or put to sleep by guess. It is looked at again by itself.", "Check the provider with: lamplighter doctor"],
    };
  if (row.breaker === "open" || row.breaker === "half-open")
    return {
      what: `Several requests to it failed in a row, so ${row.breaker === "open" ? "none goes there for a moment" : "only single ones go there until one succeeds"}.`,
      todo: ["It is tried again by itself. Its log may say what went wrong."],
    };
  return null;
}

export const Trouble = (props) => {
  const { trouble, first } = props;
  return h("section", { class: "trouble", "aria-label": "What is wrong" }, [
    h("p", { class: "problem", role: "alert" }, trouble.what),
    h("ul", trouble.todo.map((text) => h("li", text))),
    h("div", { class: "tools" }, [
      trouble.wake && first ? h("button", { type: "button", onClick: first.run }, first.label === "Wake" ? "Try again" : first.label) : null,
      props.onLog ? h("button", { type: "button", onClick: props.onLog }, "Look into its log") : null,
    ]),
  ]);
};
Trouble.props = ["trouble", "first", "onLog"];
