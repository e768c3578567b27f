// Answers under way. The server writes them, and goes on whatever this page does; here they are followed.

import * as api from "./api.js";
import { t } from "./texts.js";

const [SHORTEST_PAUSE, LONGEST_PAUSE] = [500, 15_000];

const underWay = new Map(); // by conversation id
let grown; // of chunks.js, which the first screen does not need

export const answerIn = (conversationId) => underWay.get(conversationId);

/** Stop following answers, but for one conversation's. Over HTTP/1.1 a browser has six connections to a host, for all tabs. */
export function leave(conversationId) {
  for (const mine of underWay.values()) {
    if (!mine.hasBegun || mine.conversationId === conversationId) continue;
    mine.isLeft = true;
    underWay.delete(mine.conversationId);
    mine.controller.abort();
  }
}

// When the page is seen again, it asks what is under way.
document.addEventListener("visibilitychange", () => document.hidden && leave(null));

/**
 * Follow an answer to its end, or until it is left, over broken connections.
 *
 * {conversationId, question, before, ask, onChange}: question: {id}, which is answered; before: the answer as it is stored, if
 * it goes on after an approval; ask: sends the request that asks, and
 * resolves to its events; null: the conversation's answer is joined; onChange: called after each change. Resolves to
 * the answer's status; null if there is none. Rejects if the request that asks is refused, or aborted.
 */
export async function follow({ conversationId, question, before = null, ask = null, onChange }) {
  const mine = {
    ...{ conversationId, question, before, answer: before ?? emptyAnswer(), status: "streaming", hasBegun: false, place: null, isLeft: false },
    controller: new AbortController(), // of the request
  };
  underWay.set(conversationId, mine);
  onChange(mine);
  try {
    ({ grown } = await import("./chunks.js").catch(() => Promise.reject(new api.Problem(t("The server can’t be reached.")))));
    if (ask) await read(mine, await ask(mine.controller.signal), onChange);
    for (let pause = SHORTEST_PAUSE; mine.status === "streaming" && !mine.isLeft; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
      try {
        const joined = await api.join(conversationId, mine.place, mine.controller.signal);
        if (!joined) return null; // it ended, and what it said is stored
        const before = mine.place;
        await read(mine, joined, onChange);
        if (mine.place !== before) pause = SHORTEST_PAUSE;
      } catch (error) {
        if (!error.isUnreachable && !mine.isLeft) throw error;
      }
      if (mine.status === "streaming" && !mine.isLeft) await new Promise((resolve) => setTimeout(resolve, pause));
    }
    return mine.status;
  } finally {
    if (underWay.get(conversationId) === mine) underWay.delete(conversationId);
  }
}

const startOf = ({ before }, id) => (before?.id === id ? before : { ...emptyAnswer(), id });

const emptyAnswer = () => ({ id: crypto.randomUUID(), role: "assistant", parts: [], metadata: {}, createdAt: new Date() });

/** Read events until the answer ends or the connection breaks. */
async function read(mine, events, onChange) {
  try {
    for await (const { name, data, id } of events) {
      mine.hasBegun = true;
      mine.place = id ?? mine.place;
      apply(mine, name, data);
      onChange(mine);
    }
  } catch (error) {
    if (!error.isUnreachable && !mine.isLeft) throw error;
  }
}

function apply(mine, name, data) {
  if (name === "answer") {
    if (mine.answer.id !== data.id && mine.place) mine.place = null; // another answer began meanwhile
    mine.answer = mine.answer.id === data.id ? mine.answer : startOf(mine, data.id);
    if (mine.question?.id !== data.questionId) mine.question = { id: data.questionId };
  }
  if (name === "parts") mine.answer = { ...mine.answer, parts: data.parts.reduce(grown, mine.answer.parts) };
  if (name === "end") mine.status = data.status;
}
