// What is typed into the palette: words, and the filters tag:, in: (a folder) and before: (a date).

const FILTER = /(?<=^|\s)(tag|in|before):("([^"]*)"?|\S*)/giu;

/** Return {words, tag, in, before: a Date, isUnclear: a filter has no meaning yet}. */
export function parsed(text) {
  const found = { words: text.replace(FILTER, " ").replace(/\s+/g, " ").trim(), isUnclear: false };
  for (const [, name, bare, quoted] of text.matchAll(FILTER)) {
    const value = quoted ?? bare;
    const meaning = name.toLowerCase() === "before" ? dateOf(value) : value || null;
    if (meaning === null) found.isUnclear = true;
    else found[name.toLowerCase()] = meaning;
  }
  return found;
}

/** Return the filter at the end of a text that is still being typed, {name, value, start}; null if there is none. */
export function unfinished(text) {
  const last = [...text.matchAll(FILTER)].at(-1);
  if (!last || last.index + last[0].length !== text.length || last[1].toLowerCase() === "before") return null;
  if (last[2].length > 1 && last[2].endsWith('"')) return null;
  return { name: last[1].toLowerCase(), value: last[3] ?? last[2], start: last.index };
}

/** Return a filter as it is typed. */
export const filter = (name, value) => `${name}:${/\s/.test(value) ? `"${value}"` : value} `;

/** Return the beginning of a day, month or year in the viewer's time zone: 2026-03-01, 2026-03, 2026. Null: no date. */
function dateOf(text) {
  const [, year, month = "1", day = "1"] = text.match(/^(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?$/) ?? [];
  const date = new Date(Number(year), month - 1, Number(day));
  return date.getMonth() === month - 1 && date.getDate() === Number(day) ? date : null;
}
