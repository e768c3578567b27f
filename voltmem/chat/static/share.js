// The dialog that makes, copies and revokes the public links of a conversation.

import { base } from "./addresses.js";
import * as api from "./api.js";
import { openDialog } from "./dialog.js";
import { announce, element, icon, iconButton } from "./dom.js";
import { titleOf } from "./store.js";
import { locale, t } from "./texts.js";
import { showError } from "./toast.js";

const TIME = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const addressOf = (token) => new URL(`${base}shared/${encodeURIComponent(token)}`, location.href).href;

export async function openShare(item) {
  const found = await api.shares(item.id);
  const links = element("ul", { class: "links", "aria-label": t("Links") });
  const add = (share) => links.prepend(linkOf(share));
  const create = element("button", { type: "button", class: "button button-main" }, t("Create a link"));
  create.addEventListener("click", async () => {
    create.disabled = true;
    try {
      add(await api.share(item.id));
      links.querySelector(".link-copy").click();
    } catch (error) {
      showError(error);
    }
    create.disabled = false;
  });
  found.items.reverse().forEach(add);
  openDialog(t("Share “{title}”", { title: titleOf(item) }), [
    element("p", {}, t("Everybody who has a link can read what you and the assistant have said until it was made. Later messages don’t appear.")),
    links,
    element("div", { class: "dialog-buttons" }, create),
  ]);
}

function linkOf({ token, createdAt }) {
  const address = addressOf(token);
  const time = TIME.format(new Date(createdAt));
  const note = element("small", { id: `link-${token}` }, t("Made on {time}", { time }));
  const copy = element("button", { type: "button", class: "button link-copy", "aria-describedby": note.id }, t("Copy"));
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(address);
    } catch {
      return box.select(); // the browser doesn't let the page copy, but a person can
    }
    copy.replaceChildren(icon("check"), t("Copied"));
    announce(t("Link copied"));
    setTimeout(() => copy.replaceChildren(t("Copy")), 2000);
  });
  const box = element("input", { class: "field", dir: "ltr", readonly: true, value: address, "aria-label": t("Link of {time}", { time }) });
  const revoke = iconButton("delete", t("Revoke the link of {time}", { time }), async () => {
    try {
      await api.revoke(token);
    } catch (error) {
      if (error.status !== 404) return showError(error); // 404: it is revoked already
    }
    const next = made.nextElementSibling ?? made.previousElementSibling ?? made.parentElement.nextElementSibling;
    made.remove();
    next.querySelector("button").focus();
    announce(t("Link revoked"));
  });
  const made = element("li", { class: "link" }, box, copy, revoke, note);
  return made;
}
