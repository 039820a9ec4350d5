// The alarms that stand, and where people are told of them.
import { h, onBeforeUnmount, onMounted, ref, shallowRef } from "vue";
import { askJson, duration, moment } from "lamplighter/assets/kit.js";
import { board, clock } from "lamplighter/assets/live.js";

const EVERY = 5000; // ms between two looks

/** An alarm as people call it. */
const WORDS = {
  awake_too_long: "awake too long",
  stop_failed: "could not be put to sleep",
  wake_failed: "could not be woken",
  breaker_open: "left alone: it goes on failing",
  nobody_holds: "awake, and nobody holds it",
  state_unknown: "its state is unknown",
  price_refused: "a price was refused",
  prices_old: "prices are old",
  budget_50: "half of the budget is spent",
  budget_80: "80 % of the budget is spent",
  budget_100: "the budget is spent",
};

/** A text whose commands stand between backticks. */
const marked = (text) => text.split("`").map((part, index) => (index % 2 ? h("code", part) : part));

const Alarm = (props) =>
  h("li", { class: "alarm" }, [
    h("p", { class: "what" }, [h("strong", props.of), h("span", { class: "wrong" }, WORDS[props.one.alarm] ?? props.one.alarm.replaceAll("_", " "))]),
    h("p", { class: "text" }, marked(props.one.text)),
    h("p", { class: "quiet" }, [
      h("span", { title: moment(props.one.since) }, `for ${duration(Math.max(0, props.now - props.one.since))}`),
      ` · told ${moment(props.one.told_at)}`,
    ]),
  ]);
Alarm.props = ["one", "of", "now"];

/** Where alarms are told: what the last message, or the test, came to. */
const Places = (props) => {
  const { places, tested } = props;
  if (!places.length)
    return h("p", { class: "quiet" }, ["They are told in the server's log alone. ", h("code", "alarms.webhook"), " and ", h("code", "alarms.urls"), " of the configuration name places that tell people."]);
  return h("ul", { class: "places" }, places.map((place) =>
    h("li", { key: place.name }, [
      h("strong", place.name),
      place.error ? h("span", { class: "wrong" }, ` ${place.error}`) : tested ? " took the test message" : h("span", { class: "quiet" }, " no message failed"),
    ]),
  ));
};
Places.props = ["places", "tested"];

export const Alarms = {
  props: ["facts", "link"],
  setup(props) {
    const found = shallowRef(null);
    const problem = ref(null);
    const testing = ref(false);
    const tested = shallowRef(null);
    const failed = ref(null);

    const load = async () => {
      try {
        found.value = await askJson("GET", "/api/alarms");
        problem.value = null;
      } catch (error) {
        problem.value = error.message;
      }
    };
    const timer = setInterval(() => !document.hidden && load(), EVERY);
    onMounted(load);
    onBeforeUnmount(() => clearInterval(timer));

    const test = async () => {
      testing.value = true;
      failed.value = null;
      try {
        tested.value = (await askJson("POST", "/api/alarms/test")).places;
      } catch (error) {
        failed.value = `The test message was not sent: ${error.message}`;
      } finally {
        testing.value = false;
      }
    };

    const hasEndpoint = props.facts.screens.some((screen) => screen.path.startsWith("/endpoint/"));
    const nameOf = (one) => (hasEndpoint && board.number >= 0 && board.rows.has(one.endpoint) ? props.link(`/endpoint/${encodeURIComponent(one.endpoint)}`, {}, one.endpoint) : one.endpoint);
    const list = () => {
      const alarms = found.value.alarms;
      if (!alarms.length) return h("p", { class: "calm" }, "No alarm stands.");
      return h("ul", { class: "alarms" }, alarms.map((one) => h(Alarm, { key: `${one.alarm} ${one.endpoint}`, one, of: nameOf(one), now: clock.now })));
    };

    return () =>
      h("section", { class: "standing", "aria-labelledby": "standing-title" }, [
        h("div", { class: "head" }, [
          h("h2", { id: "standing-title" }, found.value?.alarms.length ? `Alarms that stand · ${found.value.alarms.length}` : "Alarms"),
          found.value?.places.length ? h("button", { type: "button", disabled: testing.value, onClick: test }, testing.value ? "Sending…" : "Send a test message") : null,
        ]),
        problem.value && h("div", { class: "problem", role: "alert" }, [`The alarms could not be read: ${problem.value} `, h("button", { type: "button", onClick: load }, "Try again")]),
        found.value && h("div", { role: "status" }, [list()]),
        found.value && h("div", { class: "told", role: "status" }, [failed.value && h("p", { class: "problem" }, failed.value), h(Places, { places: tested.value ?? found.value.places, tested: Boolean(tested.value) })]),
      ]);
  },
};
