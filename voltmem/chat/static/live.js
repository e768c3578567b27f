// The events of the server, while the tab is visible.

import * as api from "./api.js";
import { changed, removed, setAnswering } from "./store.js";

const BETWEEN_MARKS = 300; // milliseconds

/** Keep the store up to date. Handlers: {onReady, onChange(conversationId, conversation or null), onLost}. */
export function startWatching({ onReady, onChange = () => {}, onLost = () => {} }) {
  let stop = null;
  const watch = () => {
    stop ??= api.watch({
      onReady() {
        onReady();
        markAnswering();
      },
      onChange({ conversationId, conversation }) {
        if (conversation) changed(conversation);
        else removed(conversationId);
        markAnswering();
        onChange(conversationId, conversation);
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

let marking = null;

/** Mark the conversations whose answers are under way. An answer that begins or ends stores a message. */
function markAnswering() {
  marking ??= setTimeout(async () => {
    marking = null;
    try {
      setAnswering(await api.answering());
    } catch {
      // The next change asks again.
    }
  }, BETWEEN_MARKS);
}
