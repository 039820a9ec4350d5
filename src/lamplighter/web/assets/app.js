// The frame: navigation, theme, who is signed in, whether the server is there, and the screen in it.
import { defineAsyncComponent, h, onBeforeUnmount, onMounted, ref, shallowRef, watch } from "vue";
import { clockTime } from "lamplighter/assets/kit.js";
import { board, connection, follow } from "lamplighter/assets/live.js";

const THEMES = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };

function useTheme() {
  const stored = () => {
    try {
      return localStorage.getItem("lamplighter-theme");
    } catch {
      return null;
    }
  };
  const theme = ref(stored() in THEMES ? stored() : "auto");
  const show = () => (document.documentElement.dataset.theme = theme.value);
  show();
  const next = () => {
    const all = Object.keys(THEMES);
    theme.value = all[(all.indexOf(theme.value) + 1) % all.length];
    show();
    try {
      localStorage.setItem("lamplighter-theme", theme.value);
    } catch {
      // a browser that keeps nothing forgets it with the page
    }
  };
  return { theme, next };
}

/** What an address says; as it stands where it says nothing. */
function plain(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Which of the visitor's screens is at an address, and its parameter. */
function screenAt(screens, path) {
  for (const screen of screens) {
    const [head, parameter] = screen.path.split("{");
    if (parameter === undefined ? path === screen.path : path.startsWith(head) && path.length > head.length)
      return { screen, parameter: parameter === undefined ? null : plain(path.slice(head.length)) };
  }
  return null;
}

const drawn = new Map();

function componentOf(screen) {
  if (!drawn.has(screen.folder))
    drawn.set(
      screen.folder,
      defineAsyncComponent({
        loader: () => import(`lamplighter/screens/${screen.folder}/screen.js`),
        errorComponent: { render: () => h("p", { class: "problem", role: "alert" }, "This screen could not be loaded. Reload the page.") },
      }),
    );
  return drawn.get(screen.folder);
}

const Banner = {
  setup() {
    const now = ref(performance.now());
    const timer = setInterval(() => (now.value = performance.now()), 500);
    onBeforeUnmount(() => clearInterval(timer));
    return () => {
      const away = connection.since === null ? 0 : now.value - connection.since;
      if (connection.state === "lost" && away > 700)
        return h("div", { class: "banner lost", role: "status" }, [
          h("strong", "The server can't be heard."),
          board.loaded && connection.via
            ? ` What you see is as it was ${clockTime(away / 1000)} ago. The page comes back by itself.`
            : " No live connection could be made: something between here and the server may block websockets. What you see is as it was when the page was loaded.",
        ]);
      if (connection.state === "live" && connection.via === "polling")
        return h("div", { class: "banner slow", role: "status" }, "Websockets are blocked between here and the server: the page asks again and again instead.");
      return null;
    };
  },
};

export default {
  props: ["facts"],
  setup(props) {
    const { theme, next } = useTheme();
    const path = ref(location.pathname);
    const main = shallowRef(null);
    const facts = props.facts;
    follow(facts.role !== "infer");

    const moved = () => (path.value = location.pathname);
    const go = (to) => {
      if (to === location.pathname + location.search) return;
      const stays = new URL(to, location.href).pathname === location.pathname;
      history.pushState(null, "", to);
      // A screen that stays reads its filters from the address anew, as when one goes back.
      if (stays) window.dispatchEvent(new PopStateEvent("popstate"));
      else moved();
      window.scrollTo(0, 0);
      main.value?.focus({ preventScroll: true });
    };
    onMounted(() => window.addEventListener("popstate", moved));
    onBeforeUnmount(() => window.removeEventListener("popstate", moved));
    const name = () => {
      const found = screenAt(facts.screens, path.value);
      document.title = `${found ? found.parameter || found.screen.title : "Nothing here"} · Lamplighter`;
    };
    watch(path, name, { immediate: true });

    const link = (to, attributes, label) =>
      h(
        "a",
        {
          href: to,
          ...attributes,
          onClick: (event) => {
            if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
            event.preventDefault();
            go(to);
          },
        },
        label,
      );

    const navigation = (found) =>
      h(
        "nav",
        { "aria-label": "Screens" },
        facts.screens
          .filter((screen) => !screen.path.includes("{"))
          .map((screen) => link(screen.path, { "aria-current": found?.screen === screen ? "page" : undefined }, screen.title)),
      );

    const person = () =>
      facts.visitor
        ? h("form", { class: "person", method: "post", action: "/sign-out" }, [
            h("span", { class: "quiet", title: `Role: ${facts.role}` }, `${facts.visitor} · ${facts.role}`),
            h("button", { type: "submit", class: "plain" }, "Sign out"),
          ])
        : h("span", { class: "quiet person", title: "This server has no keys: whoever reaches it may do everything." }, "no keys");

    const content = (found) => {
      if (found)
        return h(componentOf(found.screen), { key: found.screen.folder, facts, parameter: found.parameter, go, link });
      if (!facts.screens.length)
        return h("section", { class: "empty" }, [
          h("h1", "This key calls models"),
          h("p", "Its role is 'infer': it may send requests to /v1, and look at nothing here. Sign in with a key whose role is 'operate' or 'admin' to see the endpoints."),
        ]);
      return h("section", { class: "empty" }, [h("h1", "There is nothing at this address"), h("p", [link("/", {}, "All endpoints")])]);
    };

    return () => {
      const found = screenAt(facts.screens, path.value);
      return h("div", { class: "frame" }, [
        h("a", { class: "skip", href: "#main", onClick: (event) => { event.preventDefault(); main.value.focus(); } }, "Skip to the content"),
        h("header", { class: "top" }, [
          link("/", { class: "brand", "aria-label": "Lamplighter: all endpoints" }, [h("span", { class: ["lamp", connection.state === "live" ? "running" : "sleeping"], "aria-hidden": "true" }), h("span", "Lamplighter")]),
          navigation(found),
          h("div", { class: "aside" }, [
            h("button", { type: "button", class: "icon", "aria-label": THEMES[theme.value], title: THEMES[theme.value], onClick: next }, { auto: "◐", light: "○", dark: "●" }[theme.value]),
            person(),
          ]),
        ]),
        h(Banner),
        h("main", { id: "main", ref: main, tabindex: "-1" }, [content(found)]),
      ]);
    };
  },
};
