// A long list of which only what can be seen is drawn: cards in rows, or lines of a table, under headings.
import { computed, h, onBeforeUnmount, onMounted, ref } from "vue";

const BEYOND = 400; // pixels that are drawn above and below what can be seen
const FEW = 40; // so many are drawn whole: find-in-page and screen readers have all of them

const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
const HEIGHTS = { card: 12.5, gap: 0.75, line: 2.5, narrow: 3.375, title: 2.5 }; // in rem, as in screen.css
const NARROWEST = 19; // of a card, in rem

export const Window = {
  props: ["groups", "table", "headings", "draw", "stamp"],
  setup(props) {
    const box = ref(null);
    const width = ref(1000);
    const top = ref(0);
    const seen = ref([0, 2000]);

    const query = matchMedia("(max-width: 45rem)");
    const narrow = ref(query.matches);
    const columns = computed(() => (props.table ? 1 : Math.max(1, Math.floor((width.value + HEIGHTS.gap * rem()) / ((NARROWEST + HEIGHTS.gap) * rem())))));
    const lines = computed(() => {
      const unit = rem();
      const height = props.table ? (narrow.value ? HEIGHTS.narrow : HEIGHTS.line) * unit : (HEIGHTS.card + HEIGHTS.gap) * unit;
      const list = [];
      let at = 0;
      let number = 0;
      for (const group of props.groups) {
        if (group.title !== null) {
          list.push({ at, height: HEIGHTS.title * unit, title: `${group.title} · ${group.rows.length}`, key: `title ${group.title}` });
          at += HEIGHTS.title * unit;
        }
        for (let first = 0; first < group.rows.length; first += columns.value) {
          const rows = group.rows.slice(first, first + columns.value);
          list.push({ at, height, rows, number, key: rows[0].name });
          at += height;
          number += rows.length;
        }
      }
      return { list, height: at, count: number };
    });

    const look = () => {
      if (!box.value) return;
      const at = box.value.getBoundingClientRect();
      width.value = at.width;
      narrow.value = query.matches;
      top.value = at.top;
      const from = -at.top - BEYOND;
      const to = innerHeight - at.top + BEYOND;
      if (Math.abs(from - seen.value[0]) > BEYOND / 4 || Math.abs(to - seen.value[1]) > BEYOND / 4) seen.value = [from, to];
    };
    let frame = 0;
    const soon = () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        look();
      });
    };
    let observer = null;
    onMounted(() => {
      look();
      addEventListener("scroll", soon, { passive: true });
      addEventListener("resize", soon);
      observer = new ResizeObserver(soon);
      observer.observe(box.value);
    });
    onBeforeUnmount(() => {
      removeEventListener("scroll", soon);
      removeEventListener("resize", soon);
      observer?.disconnect();
      cancelAnimationFrame(frame);
    });

    const shown = () => {
      const { list, count } = lines.value;
      if (count <= FEW) return { part: list, before: 0, after: 0 };
      const [from, to] = seen.value;
      let first = list.findIndex((line) => line.at + line.height > from);
      if (first < 0) first = Math.max(0, list.length - 1);
      let last = first;
      while (last < list.length && list[last].at < to) last += 1;
      const part = list.slice(first, last);
      const end = part.length ? part.at(-1).at + part.at(-1).height : 0;
      return { part, before: part.length ? part[0].at : 0, after: lines.value.height - end };
    };

    const spacer = (height, key) => h("div", { key, class: "spacer", style: { height: `${height}px` }, "aria-hidden": "true" });

    return () => {
      props.stamp;
      const { part, before, after } = shown();
      const content = part.flatMap((line) => {
        if (line.title) return [h(props.table ? "div" : "h2", { key: line.key, class: "group", role: props.table ? "row" : undefined }, props.table ? h("div", { role: "cell" }, line.title) : line.title)];
        if (props.table) return line.rows.map(props.draw);
        return [h("div", { key: line.key, class: "row", style: { gridTemplateColumns: `repeat(${columns.value}, minmax(0, 1fr))` } }, line.rows.map(props.draw))];
      });
      if (!props.table) return h("div", { ref: box, class: "cards" }, [spacer(before, "before"), ...content, spacer(after, "after")]);
      return h("div", { class: "table", role: "table", "aria-label": "Endpoints", "aria-rowcount": lines.value.count + 1 }, [
        h("div", { role: "rowgroup" }, h("div", { class: "line head", role: "row" }, props.headings.map(([kind, label]) => h("div", { class: ["cell", kind], role: "columnheader" }, label)))),
        h("div", { ref: box, role: "rowgroup", class: "lines" }, [spacer(before, "before"), ...content, spacer(after, "after")]),
      ]);
    };
  },
};
