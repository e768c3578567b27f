// Links in what models write.

import { element } from "./dom.js";

const KINDS = ["https:", "http:", "mailto:"];

/** Return a link to another site; null for an address of another kind. */
export function linkTo(address, children, properties = {}) {
  if (!URL.canParse(address) || !KINDS.includes(new URL(address).protocol)) return null;
  return element("a", { href: address, target: "_blank", rel: "noopener noreferrer", ...properties }, ...children);
}
