// Pages of messages, and what is known about them beside.

import * as api from "./api.js";
import { has } from "./features.js";

export const PAGE = 30;

export async function newest(conversationId) {
  const { items, hasMore } = await api.messages(conversationId, { limit: PAGE });
  return { messages: items, hasOlder: hasMore, hasNewer: false };
}

/** Load the message with those before and after it; the newest messages if it doesn't exist. */
export async function around(conversationId, messageId) {
  let before, after;
  try {
    [before, after] = await Promise.all([
      api.messages(conversationId, { before: messageId, limit: PAGE }),
      api.messages(conversationId, { after: messageId, limit: PAGE }),
    ]);
  } catch (error) {
    if (error.status !== 404) throw error;
    return newest(conversationId);
  }
  // Neither response has the message itself. It is the one before the next message, or the newest message.
  const next = after.items[0]?.id;
  const { items } = await api.messages(conversationId, { before: next, limit: 1 });
  return { messages: [...before.items, ...items, ...after.items], hasOlder: before.hasMore, hasNewer: after.hasMore };
}

/** Load what became of the questions without a complete answer, and of their answers (statuses), and the branches of messages (branches). */
export async function rest(conversationId) {
  const [answers, branches] = await Promise.all([api.unfinished(conversationId), has("branches") ? branchesOf(conversationId) : new Map()]);
  return { statuses: statusesOf(answers), branches };
}

/** Return the statuses of questions and of their answers, of which the newest come first. */
export const statusesOf = (answers) =>
  new Map(answers.toReversed().flatMap(({ questionId, id, status }) => [[questionId, status], [id, status]]));

async function branchesOf(conversationId) {
  const points = await api.branches(conversationId);
  return new Map(points.flatMap(({ messageIds }) => (messageIds.length > 1 ? messageIds.map((id) => [id, messageIds]) : [])));
}

/**
 * Return the messages with the newest ones that an event tells: {after: the id of the one before them, or null, items}.
 *
 * Null: it has to be asked, because messages are missing between them, or others were set aside by a branch.
 */
export function withNews(messages, { after, items }) {
  const place = messages.findIndex(({ id }) => id === after) + 1;
  if (after !== null && !place) return null;
  const told = new Set(items.map(({ id }) => id));
  return messages.slice(place).every(({ id }) => told.has(id)) ? [...messages.slice(0, place), ...items.map(api.said)] : null;
}
