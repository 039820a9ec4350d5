// What happened: the alarms that stand, and the audit log.
import { h } from "vue";
import { Alarms } from "lamplighter/screens/activity/alarms.js";
import { Log } from "lamplighter/screens/activity/log.js";

export default {
  props: ["facts", "parameter", "go", "link"],
  setup(props) {
    return () =>
      h("div", { class: "activity" }, [
        h("h1", { class: "hidden" }, "Activity"),
        h(Alarms, { facts: props.facts, link: props.link }),
        props.facts.role === "admin" ? h(Log, { facts: props.facts, link: props.link }) : h("p", { class: "quiet" }, "The audit log is for keys with the role admin."),
      ]);
  },
};
