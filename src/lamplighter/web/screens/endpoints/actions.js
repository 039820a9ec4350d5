// What can be done with an endpoint: what each means for cost, quota and undoing, who may, and what came of it.
import { h, ref, shallowReactive } from "vue";
import { ask, duration, money } from "lamplighter/assets/kit.js";
import { isUp } from "lamplighter/screens/endpoints/order.js";

const AT_ONCE = 8; // requests side by side, where one request can't do it for all
const PATIENCE = 60; // seconds that a request waits in all where the server says that there were too many

const ORDER = ["infer", "operate", "admin"];

const hourly = (row) => (row.price_per_hour == null ? "" : `${money(row.price_per_hour * row.replicas)} an hour${row.price_estimate ? " (estimate)" : ""}`);

export function useActions(facts) {
  const pending = shallowReactive(new Map()); // by name: the verb under way
  const problems = shallowReactive(new Map()); // by name: what was refused, in the server's words
  const question = ref(null);
  const isAdmin = ORDER.indexOf(facts.role) >= ORDER.indexOf("admin");
  const one = (name) => `/v2/endpoint/${encodeURIComponent(facts.namespace)}/${encodeURIComponent(name)}`;

  const routes = {
    wake: (name) => ["POST", `/api/endpoints/wake/${encodeURIComponent(name)}`],
    sleep: (name) => ["POST", `/api/endpoints/sleep/${encodeURIComponent(name)}`],
    pause: (name) => ["POST", `${one(name)}/pause`],
    resume: (name) => ["POST", `${one(name)}/resume`],
    delete: (name) => ["DELETE", one(name)],
  };

  /** Ask, and again where the server says after how long that makes sense. */
  async function patiently(once) {
    for (let left = PATIENCE; ; ) {
      try {
        return await once();
      } catch (error) {
        const pause = error.status === 429 && error.retryAfter;
        if (!pause || pause > left) throw error;
        left -= pause;
        await new Promise((go) => setTimeout(go, pause * 1000));
      }
    }
  }

  /** Do it; tells what was refused, or null. */
  async function run(verb, name) {
    pending.set(name, verb);
    problems.delete(name);
    try {
      await patiently(() => ask(...routes[verb](name)));
      return null;
    } catch (error) {
      problems.set(name, `${verb}: ${error.message}`);
      return error.message;
    } finally {
      pending.delete(name);
    }
  }

  /** Do it with all that the server has; tells what was refused, or null. */
  async function everything(verb) {
    try {
      await patiently(() => ask("POST", `/api/endpoints/${verb}`));
      return null;
    } catch (error) {
      return error.message;
    }
  }

  /** Do it with many, a few at a time; tells what was refused in one text, or null. */
  async function allOf(verb, rows) {
    const left = rows.map((row) => row.name);
    const refused = [];
    const work = async () => {
      for (let name = left.shift(); name !== undefined; name = left.shift()) {
        const problem = await run(verb, name);
        if (problem) refused.push(`${name}: ${problem}`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    if (!refused.length) return null;
    const shown = refused.slice(0, 5).join("; ");
    return `${refused.length} of ${rows.length} were refused. ${shown}${refused.length > 5 ? "; …" : ""}`;
  }

  function put(verb, row) {
    const price = hourly(row);
    const texts = {
      pause: {
        title: `Pause ${row.name}?`,
        points: [
          ["Cost", price ? `Nothing from then on; now ${price} while awake.` : "Nothing from then on."],
          ["Quota", "Its hardware is given back: a resume may have to wait for some."],
          ["Requests", "What is in flight ends first. What waits is refused, and so is everything that comes later."],
          ["Undo", "Resume. Until then nothing wakes it."],
        ],
        yes: "Pause",
      },
      delete: {
        title: `Delete ${row.name}?`,
        points: [
          ["Cost", "Nothing from then on. What it has cost stays on record."],
          ["Quota", "Its hardware is given back."],
          ["Requests", "What is in flight ends first; then its name leads nowhere."],
          ["Undo", "None: it has to be made anew."],
        ],
        typed: row.name,
        yes: "Delete for good",
        danger: true,
      },
    };
    question.value = { ...texts[verb], verb, name: row.name, busy: false, problem: null };
  }

  async function goOn() {
    const asked = question.value;
    question.value = { ...asked, busy: true, problem: null };
    const problem = await run(asked.verb, asked.name);
    if (question.value?.name !== asked.name) return;
    if (problem) problems.delete(asked.name);
    question.value = problem ? { ...asked, busy: false, problem } : null;
  }

  /** The one thing that is most likely wanted, or null. */
  function first(row) {
    if (row.leaving) return null;
    if (row.paused) return { label: "Resume", run: () => run("resume", row.name) };
    if (row.status === "running" || row.status === "starting") return { label: "Sleep", run: () => run("sleep", row.name) };
    return { label: "Wake", run: () => run("wake", row.name) };
  }

  /** Everything that can be done, with what it means; `off` says why one can't. */
  function items(row) {
    const price = hourly(row);
    const start = row.expected_start ? `, in about ${duration(row.expected_start)}` : "";
    const runs = row.status === "running" || row.status === "starting";
    const list = [];
    if (row.paused)
      list.push({ label: "Resume", means: `Starts it${start}, and requests wake it again. Costs ${price || "what its hardware costs"} while awake.`, run: () => run("resume", row.name) });
    else if (!runs)
      list.push({ label: "Wake", means: `Starts it now${start}. Costs ${price || "what its hardware costs"} until it sleeps again.`, run: () => run("wake", row.name) });
    if (!row.paused && isUp(row) && row.status !== "stopping")
      list.push({ label: "Sleep", means: "As soon as nothing is in flight. Costs nothing then; the next request wakes it.", run: () => run("sleep", row.name) });
    if (!row.paused) list.push({ label: "Pause…", means: "Puts it out and lets nothing wake it, until it is resumed. Gives its quota back.", run: () => put("pause", row) });
    if (isAdmin)
      list.push({
        label: "Delete…",
        danger: true,
        means: "For good. Its costs stay on record.",
        off: row.deployed ? null : "Can't be deleted here: it stands in the configuration. Take it out of the file and reload.",
        run: () => put("delete", row),
      });
    return list;
  }

  const dismiss = (name) => problems.delete(name);
  return { pending, problems, question, run, allOf, everything, goOn, cancel: () => (question.value = null), first, items, dismiss };
}

/** What was refused for endpoints that are gone meanwhile: their cards can't tell any more. */
export const Problems = (props) => {
  const { problems, dismiss } = props.actions;
  return h(
    "div",
    { class: "toasts", role: "status" },
    [...problems].map(([name, text]) =>
      h("div", { class: "toast", key: name }, [
        h("p", [h("strong", name), ` could not be changed. ${text}`]),
        h("button", { type: "button", class: "icon", "aria-label": `Dismiss what was said of ${name}`, onClick: () => dismiss(name) }, "×"),
      ]),
    ),
  );
};
Problems.props = ["actions"];
