// What the server tells by itself: the board of endpoints, the connection, and the server's clock.
import { reactive, shallowReactive } from "vue";
import { isSignInHeld, signIn } from "lamplighter/assets/kit.js";

/** Rows and today's spending by name; `number` grows with each change. The maps are changed in place: read `number`. */
export const board = shallowReactive({ rows: new Map(), spending: new Map(), number: -1, loaded: false, problem: null, spendingProblem: null });

/** Whether the server can be heard: `since` tells from when on it could not (ms), `via` how it speaks. */
export const connection = reactive({ state: "connecting", since: null, via: "" });

/** The server's time, in Unix seconds, once a second: the browser's own clock may be wrong. */
export const clock = reactive({ now: Date.now() / 1000 });

const AGAIN = 2000; // milliseconds until the board is asked for again, where it could not be had

let offset = null;

// What runs on whatever the browser's clock is set to meanwhile.
const ticks = () => performance.now() / 1000;

/** The server's time now, to the millisecond. */
export const serverNow = () => (offset === null ? Date.now() / 1000 : ticks() + offset);

function hear(message) {
  const here = message.now - ticks();
  // A message is never early: the largest difference is the truest. A server's clock that was set moves it by more than delays do.
  offset = offset === null || here > offset || offset - here > 5 ? here : offset;
  clock.now = serverNow();
}

setInterval(() => {
  if (!document.hidden && connection.state !== "lost") clock.now = serverNow(); // else nobody knows what is so now
}, 1000);

let loading = null;
let waiting = [];

/** Take all of the board. */
export function load() {
  loading ??= fetch("/page/board", { headers: { accept: "application/json" } })
    .then(async (response) => {
      if (response.status === 401) return signIn();
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      const whole = await response.json();
      hear(whole);
      board.rows = new Map(Object.entries(whole.rows));
      board.spending = new Map(Object.entries(whole.spending));
      board.spendingProblem = whole.spending_error;
      board.number = whole.number;
      board.problem = null;
      board.loaded = true;
    })
    .catch((error) => {
      board.problem = String(error.message || error);
      setTimeout(() => connection.state === "live" && load(), AGAIN); // once it is back, it is asked anyway
    })
    .finally(() => {
      loading = null;
      const missed = waiting;
      waiting = [];
      missed.forEach(take);
    });
  return loading;
}

function take(message) {
  hear(message);
  if (loading) {
    waiting.push(message);
    return;
  }
  if (message.number <= board.number) return;
  if (message.number > board.number + 1) {
    load(); // something in between was missed
    return;
  }
  for (const [name, row] of Object.entries(message.rows)) board.rows.set(name, row);
  for (const name of message.gone) board.rows.delete(name);
  for (const [name, one] of Object.entries(message.spending)) board.spending.set(name, one);
  board.spendingProblem = message.spending_error;
  board.number = message.number;
}

function lost() {
  if (connection.state === "lost" || isSignInHeld()) return; // hung up on, and about to sign in
  connection.state = "lost";
  connection.since = performance.now();
}

/** Follow the server through the socket that the page's toolkit opens. Called once. */
export function follow(seesBoard) {
  if (seesBoard) load();
  const begin = () => {
    const socket = window.socket;
    if (!socket) {
      setTimeout(begin, 5);
      return;
    }
    const greet = () => {
      connection.state = "live";
      connection.since = null;
      connection.via = socket.io.engine.transport.name;
      socket.io.engine.on("upgrade", (transport) => (connection.via = transport.name));
      if (seesBoard)
        socket.emit("follow", {}, (number) => {
          if (number === null) signIn();
          else if (!loading && number !== board.number) load();
        });
    };
    socket.io.reconnectionDelayMax(2000);
    socket.on("board", take);
    socket.on("signed_out", signIn);
    socket.on("connect", greet);
    socket.on("disconnect", lost);
    socket.on("connect_error", lost);
    if (socket.connected) greet();
  };
  begin();
  setTimeout(() => connection.state === "connecting" && lost(), 5000);
}
