// What the engine says, as it says it: searched, paused, and bounded however much that is.
import { computed, h, nextTick, onBeforeUnmount, onMounted, ref, shallowRef } from "vue";
import { ask, count } from "lamplighter/assets/kit.js";
import { Cutter, parts } from "lamplighter/screens/endpoint/lines.js";

const KEPT = 2000; // lines
const AT_FIRST = 500;
const DRAW_EVERY = 200; // ms
const AGAIN = [1000, 2000, 5000, 10000]; // ms until a stream that ended is asked for again

/** Follows a log until it is stopped: tells lines, and how it stands with the stream. */
function follow(name, { onLines, onState }) {
  let over = false;
  let stop = new AbortController();
  let failures = 0;

  async function read() {
    const answer = await ask("GET", `/api/endpoints/${encodeURIComponent(name)}/logs?tail=${AT_FIRST}&follow=true`, { signal: stop.signal });
    onState("live");
    onLines([], true);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const cutter = new Cutter();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      failures = 0;
      onLines(cutter.push(value), false);
    }
  }

  async function work() {
    while (!over) {
      let problem = "The stream ended.";
      try {
        await read();
      } catch (error) {
        if (over) return;
        problem = error.status === 404 ? "The endpoint is gone." : error.status ? error.message : "The stream was cut off.";
      }
      if (over) return;
      onState("ended", problem);
      await new Promise((go) => setTimeout(go, AGAIN[Math.min(failures, AGAIN.length - 1)]));
      failures += 1;
      stop = new AbortController();
    }
  }

  work();
  return () => {
    over = true;
    stop.abort();
  };
}

export const Log = {
  props: ["name"],
  setup(props) {
    const lines = shallowRef([]);
    const search = ref("");
    const paused = ref(false);
    const wrap = ref(true);
    const state = ref("connecting");
    const problem = ref("");
    const waiting = ref(0); // lines that came while it was paused
    const box = ref(null);
    let all = [];
    let number = 0;
    let timer = null;
    let atEnd = true;
    let end = () => {};

    const draw = async () => {
      timer = null;
      if (paused.value) return;
      lines.value = all.slice();
      waiting.value = 0;
      await nextTick();
      if (atEnd && box.value) box.value.scrollTop = box.value.scrollHeight;
    };
    const soon = () => (timer ??= setTimeout(draw, DRAW_EVERY));
    const take = (news, anew) => {
      if (anew) all = [];
      for (const line of news) all.push({ ...line, number: (number += 1) });
      if (all.length > KEPT) all = all.slice(-KEPT);
      if (paused.value) waiting.value += news.length;
      soon();
    };
    onMounted(() => {
      end = follow(props.name, {
        onLines: take,
        onState: (now, why = "") => {
          state.value = now;
          problem.value = why;
        },
      });
    });
    onBeforeUnmount(() => {
      end();
      clearTimeout(timer);
    });

    const wanted = computed(() => search.value.trim().toLowerCase());
    const found = computed(() => (wanted.value ? lines.value.filter((line) => line.text.toLowerCase().includes(wanted.value)) : lines.value));
    const pause = () => {
      paused.value = !paused.value;
      if (!paused.value) {
        atEnd = true;
        draw();
      }
    };
    const scrolled = () => (atEnd = box.value.scrollHeight - box.value.scrollTop - box.value.clientHeight < 30);

    const one = (line) =>
      h("div", { class: "line", key: line.number }, [
        ...parts(line.text, wanted.value).map((text, at) => (at % 2 ? h("mark", text) : text)),
        line.left ? h("span", { class: "cut" }, ` … ${count(line.left)} more characters are not shown`) : null,
      ]);

    const tools = () =>
      h("div", { class: "tools" }, [
        h("label", { class: "search" }, [
          h("span", { class: "hidden" }, "Search in the log"),
          h("input", { type: "search", placeholder: "Search in the log…", value: search.value, onInput: (event) => (search.value = event.target.value) }),
        ]),
        h("button", { type: "button", "aria-pressed": String(paused.value), onClick: pause }, paused.value ? "Go on" : "Pause"),
        h("label", { class: "check" }, [h("input", { type: "checkbox", checked: wrap.value, onChange: (event) => (wrap.value = event.target.checked) }), "Wrap lines"]),
        h("a", { href: `/page/rest/api/endpoints/${encodeURIComponent(props.name)}/logs?tail=10000`, download: `${props.name}.log` }, "Download"),
        h("span", { class: "quiet told", role: "status" }, told()),
      ]);
    const told = () => {
      if (paused.value) return `Paused. ${count(waiting.value)} lines have come since.`;
      if (wanted.value) return `${count(found.value.length)} of ${count(lines.value.length)} lines`;
      return state.value === "live" ? `Live. The last ${lines.value.length === 1 ? "line" : `${count(lines.value.length)} lines`}` : "";
    };

    return () =>
      h("section", { class: "log", "aria-label": "Log" }, [
        tools(),
        state.value === "ended" ? h("p", { class: "problem" }, `${problem.value} It is asked for again by itself.`) : null,
        h(
          "div",
          { ref: box, class: ["lines", wrap.value && "wrap"], role: "log", "aria-live": "off", "aria-label": `Output of ${props.name}`, tabindex: 0, onScroll: scrolled },
          found.value.length
            ? found.value.map(one)
            : h("p", { class: "quiet" }, wanted.value ? "No line holds that." : state.value === "connecting" ? "Looking…" : "Nothing yet. What its engine says comes here once it is awake."),
        ),
      ]);
  },
};
