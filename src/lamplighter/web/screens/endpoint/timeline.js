// States over a time, drawn; the same as words for who can't see it.
import { h } from "vue";
import { moment } from "lamplighter/assets/kit.js";
import { LEFT, anchor, long, timeMarks, useWidth } from "lamplighter/screens/endpoint/axis.js";
import { sums, who } from "lamplighter/screens/endpoint/states.js";

// Each phase has a height of its own, so that colour is not all that tells them apart.
const HEIGHT = 44;
const TALL = { running: 30, starting: 20, error: 30, sleeping: 5, unknown: 12, unseen: 2 };
const ORDER = ["running", "starting", "sleeping", "error", "unknown", "unseen"];
export const WORDS = { unseen: "not looked at" };

const word = (phase) => WORDS[phase] ?? phase;

export const Timeline = {
  props: ["spells", "since", "until", "names", "errors"],
  setup(props) {
    const { box, width } = useWidth();
    const text = (one) =>
      `${word(one.phase)} for ${long(one.to - one.from)}\n${moment(one.from)} – ${moment(one.to)}` +
      (one.change ? `\n${one.change.reason}${one.change.message ? `: ${one.change.message.slice(0, 300)}` : ""}\nby ${who(one.change, props.names)}` : "");
    const bar = (one, x) => {
      const from = x(one.from);
      const tall = TALL[one.phase] ?? 12;
      return h("rect", { class: ["spell", one.phase], x: from, y: 32 - tall, width: Math.max(1.5, x(one.to) - from), height: tall }, h("title", text(one)));
    };
    return () => {
      const x = (at) => LEFT + ((at - props.since) / (props.until - props.since)) * (width.value - LEFT);
      const totals = sums(props.spells);
      const told = ORDER.filter((phase) => totals[phase]).map((phase) => [phase, `${word(phase)} ${long(totals[phase])}`]);
      const label = `States from ${moment(props.since)} to ${moment(props.until)}: ${told.map(([, one]) => one).join(", ") || "nothing on record"}.${props.errors.length ? ` Errors: ${props.errors.length}.` : ""}`;
      return h("div", { class: "timeline" }, [
        h("ul", { class: "key", "aria-label": "How long it was in each state" }, told.map(([phase, one]) => h("li", { class: phase, key: phase }, one))),
        h("div", { ref: box, class: "plot" }, [
          h("svg", { role: "img", "aria-label": label, width: width.value, height: HEIGHT + 8, viewBox: `0 0 ${width.value} ${HEIGHT + 8}` }, [
            h("line", { class: "ground", x1: LEFT, x2: width.value, y1: 32.5, y2: 32.5 }),
            ...props.spells.map((one) => bar(one, x)),
            ...props.errors
              .filter((one) => one.at >= props.since && one.at < props.until)
              .map((one, at) => h("path", { class: "wrong", key: `wrong ${at}`, d: `M ${x(one.at) - 5} -7 h 10 l -5 8 z` }, h("title", `${moment(one.at)}\n${one.what.slice(0, 300)}\nby ${one.by}`))),
            ...timeMarks(props.since, props.until, width.value - LEFT).map((mark) =>
              h("g", { class: "mark", key: mark.at }, [
                h("line", { x1: x(mark.at), x2: x(mark.at), y1: 33, y2: 37 }),
                h("text", { x: Math.min(x(mark.at), width.value - 2), y: 48, "text-anchor": anchor(x(mark.at), width.value) }, mark.label),
              ]),
            ),
          ]),
        ]),
      ]);
    };
  },
};
