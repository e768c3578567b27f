// Where the chat is mounted, and the addresses of its pages.

export const base = new URL(import.meta.url).pathname.replace(/static\/([0-9a-f]{12}\/)?addresses\.js$/, ""); // with or without a version

let navigate;

/** Set what goes to another address of the chat: (path, {replace, isOpen}). */
export const setNavigate = (wanted) => (navigate = wanted);
export const go = (...given) => navigate(...given);

/** Return the address of a conversation, at a message if one is given. */
export const addressOf = (id, messageId) =>
  `${base}c/${encodeURIComponent(id)}${messageId ? `#${encodeURIComponent(messageId)}` : ""}`;

/** Return the id of the conversation at an address; undefined where there is none. */
export const conversationAt = (path) => path.slice(base.length).match(/^c\/(.+)$/)?.[1];

/** Whether a link leads to a page of the chat, and not to one of the application that has mounted it. */
export const isOfChat = (link) =>
  link.origin === location.origin && (link.pathname === base || link.pathname.startsWith(`${base}c/`));
