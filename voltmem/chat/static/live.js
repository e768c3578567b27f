// The events of the server, while the tab is visible.

import * as api from "./api.js";
import { removed, setAnswering, setAnsweringIn, told } from "./store.js";

/**
 * Keep the store up to date. onChange is called with the id of a conversation, and what the event says of it:
 * {conversation: or null, saysAll: see told(), answers, messages: see voltmem/chat/_events.py}.
 *
 * @param {{onReady: () => void, onChange?: (id: string, said: any) => void, onLost?: () => void}} handlers
 */
export function startWatching({ onReady, onChange = () => {}, onLost = () => {} }) {
  let stop = null;
  api.forgetCarried();
  const watch = () => {
    stop ??= api.watch({
      onReady() {
        onReady();
        markAnswering();
      },
      onChange({ conversationId, conversation, answers = [], messages = null }) {
        setAnsweringIn(conversationId, answers.some(({ status }) => status === "streaming"));
        const saysAll = conversation ? told(conversation) : removed(conversationId);
        onChange(conversationId, { conversation, saysAll, answers, messages });
      },
      onLost,
    });
  };
  const unwatch = () => {
    stop?.();
    stop = null;
  };
  // Browsers limit the connections to a server, so a hidden tab closes its event stream.
  document.addEventListener("visibilitychange", () => (document.hidden ? unwatch() : watch()));
  addEventListener("pagehide", unwatch);
  addEventListener("pageshow", watch);
  watch();
}

/** Mark the conversations whose answers are under way now. Events say when that changes. */
const markAnswering = () => api.answering().then(setAnswering, () => {}); // asked again when the events are back
