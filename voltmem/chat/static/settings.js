// What the application has chosen: see voltmem/chat/_settings.py.

import { byId, element } from "./dom.js";
import { keep, kept } from "./kept.js";
import { t } from "./texts.js";

export const settings = JSON.parse(document.documentElement.dataset.settings);

const names = byId("model");

/** Show the name of the model, or a choice of several. */
export function startSettings() {
  const { models } = settings;
  if (models.length < 2) return names.replaceChildren(models[0] ?? "");
  const choice = element("select", { "aria-label": t("Model") }, models.map((name) => element("option", {}, name)));
  const before = kept("model", null);
  if (models.includes(before)) choice.value = before;
  choice.addEventListener("change", () => keep("model", choice.value));
  names.replaceChildren(choice);
}

/** Return the model that the user has chosen; undefined if there is no choice. */
export const model = () => names.querySelector("select")?.value;
