// The work that each peer in Node does: node work.mjs start|work CONNECTION SCALE. See ../work.py, which does the same.
// store.mjs beside it exports Store, with the methods of a Peer there.
const [task, connection, scale] = process.argv.slice(2);
const TEXT = "Some forty words that people might write to an assistant, or it to them. ".repeat(3);
const [CONVERSATIONS, LISTED, PAGE, WINDOW, LONG, PREPARED_AT_ONCE] = [20, 100, 20, 100, 10_000, 100];

const write = process.stdout.write.bind(process.stdout);
for (const name of ["log", "info", "warn", "error", "debug"]) console[name] = () => {}; // logs would be in the answer

let number = 0;
const said = (kind) => ({ id: `m${number++}`, kind, text: TEXT });
const talk = (messages) => Array.from({ length: messages }, (_, place) => said(place % 2 ? "assistant" : "user"));

// Node's peers store a call together with its result, as parts of the assistant's message.
const turn = () => [said("user"), said("tool"), said("assistant")];

async function fill(store, conversation, messages) {
  for (let start = 0; start < messages.length; start += PREPARED_AT_ONCE) {
    await store.add(conversation, messages.slice(start, start + PREPARED_AT_ONCE));
  }
}

async function prepare(store, long) {
  const listed = Array.from({ length: LISTED }, (_, place) => `c${place}`);
  for (const conversation of [...listed, "short", "long"]) await store.create(conversation);
  for (const conversation of listed) await fill(store, conversation, talk(2));
  await fill(store, "short", talk(WINDOW));
  await fill(store, "long", talk(long));
}

async function median(call, calls) {
  const times = [];
  const warmUp = Math.min(calls, 5);
  for (let turn = 0; turn < warmUp + calls; turn++) {
    const started = performance.now();
    await call(turn);
    times.push(performance.now() - started);
  }
  const sorted = times.slice(warmUp).sort((one, other) => one - other);
  return (sorted[(calls - 1) >> 1] + sorted[calls >> 1]) / 2;
}

async function measure(store) {
  const of = (usual, least) => Math.max(Math.round(usual * Number(scale)), least);
  await store.open();
  await prepare(store, of(LONG, WINDOW));
  const read = async (conversation) => {
    const found = await store.load(conversation, WINDOW);
    if (found !== WINDOW) throw new Error(`${found} messages instead of ${WINDOW}`);
  };
  const results = {
    append: await median((turn) => store.add(`c${turn % CONVERSATIONS}`, [said("user")]), of(200, 2)),
    turn: await median((place) => store.add(`c${place % CONVERSATIONS}`, turn()), of(200, 2)),
    load: await median(() => read("short"), of(200, 2)),
    newest: await median(() => read("long"), of(50, 2)),
    list: await median(() => store.list(PAGE), of(200, 2)),
  };
  await store.close();
  return results;
}

async function start(store, since) {
  await store.open();
  await store.load("short", WINDOW);
  return { start: performance.now() - since };
}

const since = performance.now();
const { Store } = await import("./store.mjs");
const store = new Store(connection);
const results = await (task === "start" ? start(store, since) : measure(store));
write(`${JSON.stringify(results)}\n`, () => process.exit(0));
