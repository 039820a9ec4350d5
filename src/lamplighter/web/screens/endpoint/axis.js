// Scales and their marks: time in the viewer's zone, durations on a logarithmic scale. Pure but for the width of an element.
import { onBeforeUnmount, onMounted, ref } from "vue";
import { duration } from "lamplighter/assets/kit.js";

const STEPS = [60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200]; // of seconds; longer ones are whole days
const DAY = 86400;
const APART = 84; // pixels

/** Pixels at the left of every drawing, for the words of its scale: what happened at one time stands in one line. */
export const LEFT = 44;

const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const short = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });

/** A moment without its seconds, for tables. */
export const shortMoment = (unix) => short.format(new Date(unix * 1000));

/** The marks of a time that is so many pixels wide: `{at, label}`, on whole hours or days of the viewer. */
export function timeMarks(since, until, width) {
  const most = Math.max(2, Math.floor(width / APART));
  const wanted = (until - since) / most;
  const step = STEPS.find((one) => one >= wanted);
  const days = step ? 0 : Math.max(1, Math.ceil(wanted / DAY));
  const at = new Date(since * 1000);
  at.setHours(0, 0, 0, 0);
  const marks = [];
  while (at.getTime() / 1000 < until) {
    const unix = at.getTime() / 1000;
    const midnight = at.getHours() === 0 && at.getMinutes() === 0;
    if (unix >= since) marks.push({ at: unix, label: (midnight ? day : hour).format(at) });
    if (days) at.setDate(at.getDate() + days);
    else at.setTime(at.getTime() + step * 1000);
  }
  return marks;
}

const LEVELS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000];

/** From where the word at a mark of time is written, so that it stays in its drawing. */
export const anchor = (x, width) => (x > width - 40 ? "end" : x < LEFT + 24 ? "start" : "middle");

/** A logarithmic scale for durations that go from `least` to `most` seconds: its bounds, and marks on it. */
export function durationScale(least, most) {
  const low = [...LEVELS].reverse().find((one) => one <= least) ?? LEVELS[0];
  const high = LEVELS.find((one) => one >= most && one > low) ?? LEVELS.at(-1);
  const marks = LEVELS.filter((one) => one >= low && one <= high);
  const few = marks.length > 5 ? marks.filter((one) => one === low || LEVELS.indexOf(one) % 2 === 0) : marks; // whole powers of ten
  const part = (seconds) => (Math.log(Math.min(high, Math.max(low, seconds))) - Math.log(low)) / (Math.log(high) - Math.log(low));
  return { marks: few, part };
}

/** A scale from zero for counts: its upper bound is 1, 2 or 5 times a power of ten. */
export function countScale(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, most)));
  const high = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= most);
  return { high, part: (value) => value / high };
}

/** A duration as short as an axis needs it: 3 ms, 0.3 s, 10 s, 5 min. */
export function tick(seconds) {
  if (seconds < 0.1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 100) return `${seconds} s`;
  return `${Math.round(seconds / 60)} min`;
}

/** A measured duration: 3.2 ms, 340 ms, 1.24 s, 12.4 s, 3:20. */
export function took(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.01) return `${(seconds * 1000).toFixed(1)} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)}:${String(Math.round(seconds) % 60).padStart(2, "0")} min`;
}

/** A time that may be long: 40 s, 12 min, 6 h 52 min, 7.2 d. */
export function long(seconds) {
  if (seconds < 7200) return duration(seconds);
  if (seconds >= 172800) return `${(seconds / 86400).toFixed(1)} d`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** The width of an element in pixels, as it changes. */
export function useWidth() {
  const box = ref(null);
  const width = ref(800);
  let observer = null;
  onMounted(() => {
    const look = () => (width.value = Math.max(200, box.value?.clientWidth ?? width.value));
    look();
    observer = new ResizeObserver(look);
    observer.observe(box.value);
  });
  onBeforeUnmount(() => observer?.disconnect());
  return { box, width };
}
