// The texts of the page in its language. An English text is the key of the others; the page has them: see _languages.py.

import { byId } from "./dom.js";

const given = byId("texts");
const texts = JSON.parse(given.textContent);

/** For Intl: the language and the region of the page. The months of the list are those of the Gregorian calendar. */
export const locale = `${given.lang}-u-ca-gregory`;

export const numbers = new Intl.NumberFormat(locale);
const plurals = new Intl.PluralRules(locale);

/** Put the values into the places of a text, "{name}". Returns the pieces; a value may be an element. */
const filled = (text, values) =>
  text.split(/\{(\w+)\}/).map((piece, place) => {
    const value = place % 2 ? values[piece] : piece;
    return typeof value === "number" ? numbers.format(value) : value;
  });

/** Return a text as the children of an element, some of whose values are elements. */
export const pieces = (text, values) => filled(texts[text] ?? text, values);

/** Return a text. */
export const t = (text, values) => pieces(text, values).join("");

/** Return a text about a number, {count}: the English ones are for one and for others, and the second one is the key. */
export function many(count, one, other, values) {
  const forms = texts[other] ?? { one, other };
  return filled(forms[plurals.select(count)] ?? forms.other, { count, ...values }).join("");
}
