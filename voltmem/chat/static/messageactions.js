// What is done with messages: an answer is rated, a version chosen, the conversation forked at one of them.

import { addressOf, go } from "./addresses.js";
import { leave } from "./answers.js";
import * as api from "./api.js";
import { openId, renew, synchronize } from "./conversation.js";
import { viewOf } from "./log.js";
import { receive } from "./store.js";
import { t } from "./texts.js";
import { showError, toast } from "./toast.js";

export async function rate(answer, type) {
  const [conversationId, feedback] = [openId(), type && { type }];
  renew({ ...answer, metadata: { ...answer.metadata, feedback } });
  try {
    await api.rate(conversationId, answer.id, type);
  } catch (error) {
    showError(error);
    await synchronize(conversationId);
  }
}

export async function choose(messageId, label) {
  const conversationId = openId();
  try {
    await api.choose(conversationId, messageId);
    leave(null); // an answer that is written goes on in its own branch
    await synchronize(conversationId);
    viewOf(messageId)?.focusButton(label);
  } catch (error) {
    showError(error);
  }
}

let isForking = false;

export async function fork(message) {
  if (isForking) return; // ignore the second click of a double click
  isForking = true;
  try {
    const item = await receive(api.fork(openId(), message.id));
    go(addressOf(item.id));
    toast(t("This is a copy. The original conversation is unchanged."));
  } catch (error) {
    showError(error);
  } finally {
    isForking = false;
  }
}
