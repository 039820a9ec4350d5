// The keys of this server: what each may do, how much, until when; made, shown once, and taken back.
import { computed, h, nextTick, onBeforeUnmount, onMounted, ref, shallowRef } from "vue";
import { Question, ask, askJson, count, duration, holdSignIn, moment, signIn, useQuery } from "lamplighter/assets/kit.js";
import { board, clock } from "lamplighter/assets/live.js";
import { Form, Secret, made } from "lamplighter/screens/keys/make.js";

const EVERY = 15000; // ms between two looks at what others changed

const BOUNDS = [
  ["requests_per_minute", "requests a minute"],
  ["tokens_per_minute", "tokens a minute"],
  ["concurrent", "at once"],
];

function limits(key) {
  const parts = BOUNDS.filter(([bound]) => key.limits[bound] !== null).map(([bound, what]) => `${count(key.limits[bound])} ${what}`);
  if (!key.may_wake) parts.push("wakes nothing");
  if (key.priority) parts.push(`priority ${key.priority}`);
  return parts.join(", ");
}

function ends(key, now) {
  if (key.revoked_at !== null) return { word: "revoked", at: key.revoked_at, over: true };
  if (key.expires_at === null) return { word: "never ends", over: false };
  if (key.expires_at <= now) return { word: "ended", at: key.expires_at, over: true };
  return { word: `ends in ${duration(key.expires_at - now)}`, at: key.expires_at, over: false };
}

const tagsOf = (key) => Object.entries(key.tags).map(([name, value]) => `${name}=${value}`).join(", ");

const matches = (key, words) => {
  const text = `${key.name} ${key.id} ${key.role} ${key.routes.join(" ")} ${tagsOf(key)} ${key.created_by}`.toLowerCase();
  return words.every((word) => text.includes(word));
};

const HEADINGS = ["Name", "Role", "Models", "Limits", "Tags", "Ends", "Made", ""];

const Row = (props) => {
  const { one, now, isOwn, link } = props;
  const end = ends(one, now);
  const cell = (label, content, kind) => h("td", { role: "cell", "data-label": label, class: [kind, { nothing: !content }] }, content || "–");
  return h("tr", { role: "row", class: { over: end.over } }, [
    h("th", { role: "rowheader", scope: "row" }, [
      h("span", { class: "name" }, one.name),
      isOwn && h("span", { class: "own" }, "yours"),
      h("span", { class: "id quiet" }, one.id),
    ]),
    cell("Role", one.role),
    cell("Models", one.routes.length ? one.routes.join(", ") : "all here", "models"),
    cell("Limits", limits(one)),
    cell("Tags", tagsOf(one)),
    cell("Ends", h("span", { title: end.at ? moment(end.at) : undefined, class: { wrong: end.over } }, end.word)),
    cell("Made", one.created_at ? [h("span", { title: `by ${one.created_by}` }, moment(one.created_at)), h("span", { class: "quiet by" }, `by ${one.created_by}`)] : "configuration", "made"),
    h("td", { role: "cell", class: "doing" }, [
      link(`/activity?actor=${encodeURIComponent(`key:${one.name}`)}`, { class: "did", "aria-label": `What ${one.name} did` }, "Activity"),
      end.over
        ? null
        : one.created_at
          ? h("button", { type: "button", "aria-label": `Revoke ${one.name}`, onClick: props.revoke }, "Revoke…")
          : h("span", { class: "quiet", title: "It stands in server.keys: take it out of there, and reload." }, "by the file"),
    ]),
  ]);
};
Row.props = ["one", "now", "isOwn", "link", "revoke"];

export default {
  props: ["facts", "parameter", "go", "link"],
  setup(props) {
    const { state, set } = useQuery({ q: "", ended: "" });
    const keys = shallowRef(null);
    const problem = ref(null);
    const making = ref(false);
    const asking = shallowRef(null);
    const opener = ref(null);

    const load = async () => {
      try {
        keys.value = (await askJson("GET", "/api/keys")).keys;
        problem.value = null;
      } catch (error) {
        problem.value = error.message;
      }
    };
    const timer = setInterval(() => !document.hidden && !made.value?.closed_server && load(), EVERY);
    onMounted(() => !made.value?.closed_server && load());
    onBeforeUnmount(() => clearInterval(timer));

    const words = computed(() => state.q.toLowerCase().split(/\s+/).filter(Boolean));
    const now = () => clock.now;
    const shown = computed(() => (keys.value ?? []).filter((one) => (state.ended || one.revoked_at === null) && (state.ended || one.expires_at === null || one.expires_at > now()) && matches(one, words.value)));
    const gone = computed(() => (keys.value ?? []).filter((one) => ends(one, now()).over).length);
    const isFirst = computed(() => !props.facts.visitor && Boolean(keys.value) && gone.value === keys.value.length);

    const revoke = (one) => {
      const own = one.name === props.facts.visitor;
      asking.value = {
        id: one.id,
        title: `Revoke ${one.name}?`,
        text: own ? "It is the key that you are signed in with: you will be asked for another one." : null,
        points: [
          ["Requests", "It opens nothing from this moment on. What it has begun is answered."],
          ["Pages", "Those that are signed in with it are sent to the form within two seconds."],
          ["Costs", "What it has used stays on record under its name."],
          ["Undo", "None: a new one has to be made, and given to whoever had it."],
        ],
        typed: one.name,
        yes: "Revoke for good",
        danger: true,
        busy: false,
        problem: null,
      };
    };
    const goOn = async () => {
      const asked = asking.value;
      asking.value = { ...asked, busy: true, problem: null };
      try {
        await ask("DELETE", `/api/keys/${encodeURIComponent(asked.id)}`);
        asking.value = null;
        await load();
      } catch (error) {
        asking.value = { ...asked, busy: false, problem: error.message };
      }
    };
    const close = async () => {
      making.value = false;
      await nextTick();
      opener.value?.focus();
    };
    const finished = () => {
      making.value = false;
      if (!made.value.closed_server) load();
    };
    const away = async () => {
      const last = made.value.closed_server;
      made.value = null;
      holdSignIn(false);
      if (last) signIn();
      else await close();
    };

    const empty = () =>
      h("section", { class: "empty" }, [
        h("h2", "No key yet"),
        h("p", "Whoever reaches this server may do everything here. The first key, which has the role admin, closes it: from then on nobody comes in without one."),
        h("p", { class: "quiet" }, ["From a terminal: ", h("code", "lamplighter key create root --role admin")]),
      ]);
    const table = () =>
      h("div", { class: "frame-of-table" }, [
        h("table", { role: "table", "aria-label": "Keys" }, [
          h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, HEADINGS.map((title) => h("th", { role: "columnheader", scope: "col" }, title || h("span", { class: "hidden" }, "Actions"))))),
          h("tbody", { role: "rowgroup" }, shown.value.map((one) => h(Row, { key: one.id, one, now: now(), isOwn: one.name === props.facts.visitor && one.revoked_at === null, link: props.link, revoke: () => revoke(one) }))),
        ]),
      ]);
    const list = () => {
      if (!keys.value) return problem.value ? null : h("p", { class: "quiet loading", "aria-busy": "true" }, "Looking…");
      if (!keys.value.length) return making.value ? null : empty();
      if (!shown.value.length)
        return h("section", { class: "empty small" }, [
          h("p", state.q ? "No key fits this filter." : "No key counts any more."),
          h("button", { type: "button", onClick: () => { set("q", ""); set("ended", "1"); } }, "Show all"),
        ]);
      return table();
    };

    return () =>
      h("div", { class: "keys" }, [
        h("div", { class: "head" }, [
          h("h1", "Keys"),
          !making.value && !made.value && h("button", { ref: opener, type: "button", class: "primary", onClick: () => (making.value = true) }, "Make a key"),
        ]),
        made.value && h(Secret, { onAway: away }),
        making.value && !made.value && h(Form, { models: (board.number, [...board.rows.keys()].sort()), isFirst: isFirst.value, onMade: finished, onClose: close }),
        problem.value && h("div", { class: "problem", role: "alert" }, [h("p", `The keys could not be read: ${problem.value}`), h("button", { type: "button", onClick: load }, "Try again")]),
        keys.value?.length
          ? h("section", { class: "tools", "aria-label": "Filter" }, [
              h("label", { class: "search" }, [
                h("span", { class: "hidden" }, "Filter by name, role, model or tag"),
                h("input", { type: "search", placeholder: "Filter: name, role, model, tag…", value: state.q, onInput: (event) => set("q", event.target.value) }),
              ]),
              gone.value
                ? h("label", { class: "check" }, [
                    h("input", { type: "checkbox", checked: Boolean(state.ended), onChange: (event) => set("ended", event.target.checked ? "1" : "") }),
                    h("span", `Also ${gone.value} that ended`),
                  ])
                : null,
              h("p", { class: "quiet", role: "status" }, `${shown.value.length} of ${keys.value.length}`),
            ])
          : null,
        made.value?.closed_server ? null : list(),
        asking.value && h(Question, { ...asking.value, onYes: goOn, onNo: () => (asking.value = null) }),
      ]);
  },
};
