// The names of keys, as they stand on the keyboards of the page's language.

import { t } from "./texts.js";

const IS_APPLE = /Mac|iP/.test(navigator.platform);
const NAMES = {
  ...{ Mod: IS_APPLE ? "⌘" : t("Ctrl"), Shift: IS_APPLE ? "⇧" : t("Shift"), Enter: t("Enter"), Space: t("Space") },
  ...{ Home: t("Home"), End: t("End"), Delete: t("Del"), Esc: t("Esc") },
};

/** Return the names of keys that are pressed together, such as "Mod+Shift+O". */
export const namesOf = (keys) => keys.split("+").map((key) => NAMES[key] ?? key);
