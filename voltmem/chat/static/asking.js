// Questions: sent, edited, asked again; and their answers stopped, or let go on.

import { answerIn } from "./answers.js";
import * as api from "./api.js";
import { moveDraft, restoreDraft, setBusy } from "./composer.js";
import { create, followed, isAnswering, isGone, openId, redraw, showAsked, shownMessages, synchronize } from "./conversation.js";
import { announce } from "./dom.js";
import { viewOf } from "./log.js";
import { edits, textOf, textParts } from "./message.js";
import { newest } from "./pages.js";
import { model } from "./settings.js";
import { removed } from "./store.js";
import { t } from "./texts.js";
import { showError, toast } from "./toast.js";

/** Send a question. If it is not stored, its text and files go back into the box. */
export async function send(text, files = []) {
  const isNew = openId() === null;
  const conversationId = openId() ?? (await create());
  if (conversationId && (await ask(conversationId, { text, files }))) return;
  if (isNew && conversationId) await removeUnused(conversationId);
  restoreDraft(isGone(conversationId) ? null : conversationId, text, files);
}

/** Delete the conversation that was created for a question that could not be sent. */
async function removeUnused(conversationId) {
  try {
    await api.remove(conversationId);
  } catch {
    return; // it stays, and the next question uses it
  }
  moveDraft(conversationId, null);
  removed(conversationId);
}

/** Ask a question in place of another, which stays in a branch of its own. If it is not stored, its text goes back. */
export async function edit(question, text) {
  if (await askInPlace(question, text)) return;
  edits.put(question.id, text);
  viewOf(question.id)?.edit();
}

async function askInPlace(question, text) {
  const [conversationId, messages] = [openId(), shownMessages()];
  const place = messages.findIndex((message) => message.id === question.id);
  try {
    const before = place > 0 ? messages[place - 1] : (await api.messages(conversationId, { before: question.id, limit: 1 })).items[0];
    const files = question.parts.filter((part) => part.type === "file");
    return await ask(conversationId, { text, files, parentId: before?.id ?? null });
  } catch (error) {
    showError(error);
    return false;
  }
}

export function regenerate(answer) {
  const messages = shownMessages();
  const before = messages.slice(0, messages.findIndex((message) => message.id === answer.id));
  const question = before.findLast((message) => message.role === "user");
  if (question) askAgain(question);
  else toast(t("There is no question before this answer."));
}

export const askAgain = (question) => ask(openId(), { question });

/**
 * Ask a question with a new text, or a stored question again, and follow the answer. Resolves to whether it was
 * stored. An answer that is under way is stopped before.
 *
 * @param {string} conversationId
 * @param {{text?: string, files?: any[], parentId?: string, question?: any}} options
 */
async function ask(conversationId, { text, files = [], parentId, question = null }) {
  const parts = [...files, ...(text ? textParts(text) : [])];
  const asked = question ?? { id: crypto.randomUUID(), role: "user", parts, metadata: {}, createdAt: new Date() };
  const sent = files.map(({ url, mediaType, filename = "" }) => ({ url, mediaType, filename }));
  const body = { conversationId, messageId: asked.id, text, parentId, files: sent, model: model() };
  let takeBack = () => {};
  try {
    if (isAnswering(conversationId)) await api.stop(conversationId);
    takeBack = await showAsked(conversationId, asked, parentId);
    return await followed(conversationId, asked, (signal) => api.ask(body, signal), null, Boolean(question) || parentId !== undefined);
  } catch (error) {
    if (error.name !== "AbortError") showError(error);
    const wasStored = await isStored(conversationId, asked);
    if (!wasStored) takeBack();
    redraw();
    await synchronize(conversationId);
    return wasStored;
  }
}

/** Return whether a question is stored whose request failed: the connection may have broken after that. */
async function isStored(conversationId, question) {
  try {
    const { messages } = await newest(conversationId);
    return messages.some((message) => message.id === question.id && textOf(message) === textOf(question));
  } catch {
    return false;
  }
}

/** Tell the answer what was decided about its calls. It goes on. */
export async function decide(answer, decisions) {
  const [conversationId, messages] = [openId(), shownMessages()];
  const question = messages[messages.findIndex((message) => message.id === answer.id) - 1];
  try {
    await followed(conversationId, question, (signal) => api.decide(conversationId, answer.id, decisions, signal), answer);
  } catch (error) {
    showError(error);
    await synchronize(conversationId);
  }
}

export async function stop() {
  const id = openId();
  const asked = answerIn(id);
  if (asked && !asked.hasBegun) asked.controller.abort();
  setBusy(false); // the next question waits for the end
  try {
    await api.stop(id);
    announce(t("Stopped"));
  } catch (error) {
    setBusy(isAnswering(openId()));
    showError(error);
  }
}
