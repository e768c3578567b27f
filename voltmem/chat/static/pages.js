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

/** Load what became of the questions without a complete answer (statuses), and the branches of messages (branches). */
export async function rest(conversationId) {
  const [answers, points] = await Promise.all([api.unfinished(conversationId), has("branches") ? api.branches(conversationId) : []]);
  const statuses = new Map(answers.reverse().map(({ questionId, status }) => [questionId, status]));
  const branches = new Map(
    points.flatMap(({ messageIds }) => (messageIds.length > 1 ? messageIds.map((id) => [id, messageIds]) : [])),
  );
  return { statuses, branches };
}
