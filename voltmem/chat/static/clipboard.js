// Copies a text.

import { announce, icon } from "./dom.js";
import { t } from "./texts.js";
import { toast } from "./toast.js";

/** Copy the text, and show a check mark on the button for a moment. */
export async function copyText(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    return toast(t("The browser doesn’t let this page copy."), { isError: true });
  }
  announce(t("Copied"));
  button.replaceChildren(icon("check"));
  setTimeout(() => button.replaceChildren(icon("copy")), 1500);
}
