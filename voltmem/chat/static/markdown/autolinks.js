// Bare addresses as links, as in GitHub's dialect: http(s)://…, www.…, mail and XMPP.
// They take linear time: no character is looked at more than a fixed number of times.

const STOPS = "\\s<>\"`。，、；：！？（）「」『』【】《》";
const DOMAIN = /[\p{L}\p{N}_-]+(?:\.[\p{L}\p{N}_-]+)*/uy;
const REST = new RegExp(`[^${STOPS}]*`, "y");
const START = /(?<![^\s*_~(])www\.|@/g;
const MAIL_HOST = /[\w-]+(?:\.[\w-]+)+/y;
const RESOURCE = /\/[A-Za-z0-9@.]+/y;
const MAIL_SCHEME = /(?<![A-Za-z0-9])(?:mailto|xmpp):$/;

export function autolinks(parser) {
  parser.inline.ruler.at("linkify", webAddress);
  parser.core.ruler.at("linkify", otherAddresses);
}

/** A rule for http://… and https://…, which is tried before emphasis, since an address may contain its marks. */
function webAddress(state, silent) {
  const { src, pos, md } = state;
  if (state.linkLevel > 0 || !src.startsWith("://", pos)) return false;
  const scheme = state.pending.slice(-6).match(/(?:^|[^A-Za-z0-9])(https?)$/i)?.[1];
  const end = scheme && endOfAddress(src, pos + 3, state.posMax);
  if (!end) return false;
  const address = src.slice(pos - scheme.length, end);
  const href = md.normalizeLink(address);
  if (!md.validateLink(href)) return false;
  if (!silent) {
    state.pending = state.pending.slice(0, -scheme.length);
    state.push("link_open", "a", 1).attrs = [["href", href]];
    state.push("text", "", 0).content = address;
    state.push("link_close", "a", -1);
  }
  state.pos = end;
  return true;
}

/** A rule for the other addresses, which are found in the texts that are left. */
function otherAddresses({ md, Token, tokens }) {
  for (const inline of tokens) {
    if (inline.type !== "inline") continue;
    let links = 0; // that are open
    inline.children = inline.children.flatMap((token) => {
      if (token.type === "link_open") links += 1;
      if (token.type === "link_close") links -= 1;
      if (token.type !== "text" || links) return [token];
      return linked(token, Token, md);
    });
  }
}

function linked(token, Token, md) {
  const text = token.content;
  const made = [];
  let place = 0;
  const add = (type, nesting, properties) => made.push(Object.assign(new Token(type, "", nesting), properties));
  START.lastIndex = 0;
  for (let found = START.exec(text); found; found = START.exec(text)) {
    const address = found[0] === "@" ? mailAt(text, found.index, place) : siteAt(text, found.index);
    if (!address) continue;
    add("text", 0, { content: text.slice(place, address.start) });
    add("link_open", 1, { attrs: [["href", md.normalizeLink(address.href)]] });
    add("text", 0, { content: text.slice(address.start, address.end) });
    add("link_close", -1, {});
    place = START.lastIndex = address.end;
  }
  if (!made.length) return [token];
  add("text", 0, { content: text.slice(place) });
  return made;
}

function siteAt(text, start) {
  const end = endOfAddress(text, start, text.length, { hasPeriod: true });
  return end && { start, end, href: `http://${text.slice(start, end)}` };
}

/** Return the mail or XMPP address around an "@", which begins at *from* at the earliest. */
function mailAt(text, at, from) {
  let start = at;
  while (start > from && /[A-Za-z0-9.+_-]/.test(text[start - 1])) start -= 1;
  const host = sticky(MAIL_HOST, text, at + 1);
  if (start === at || !host || /[-_]$/.test(host)) return null;
  let end = at + 1 + host.length;
  const scheme = text.slice(Math.max(from, start - 8), start).match(MAIL_SCHEME)?.[0] ?? "";
  start -= scheme.length;
  if (scheme === "xmpp:") end += sticky(RESOURCE, text, end).length;
  return { start, end, href: `${scheme ? "" : "mailto:"}${text.slice(start, end)}` };
}

/** Return where the address ends whose domain begins at *start*; null if there is no domain. */
function endOfAddress(text, start, limit, { hasPeriod = false } = {}) {
  const domain = sticky(DOMAIN, text, start);
  const parts = domain.split(".");
  if (!domain || (hasPeriod && parts.length < 2) || parts.slice(-2).some((part) => part.includes("_"))) return null;
  const whole = text.slice(start, limit);
  return start + trimmed(sticky(REST, whole, 0));
}

/** Return the length of an address without the punctuation after it: a ")" without its "(", or a reference like &lt; */
function trimmed(address) {
  let end = address.length;
  let unopened = address.split(")").length - address.split("(").length;
  for (;;) {
    const last = address[end - 1];
    if (last === ")" && unopened > 0) unopened -= 1;
    else if (last === ";") end = startOfReference(address, end - 1);
    else if (!last || !"?!.,:*_~'".includes(last)) return end;
    if (last !== ";") end -= 1;
  }
}

/** Return where the character reference starts that the semicolon ends; its own place if it ends none. */
function startOfReference(text, semicolon) {
  let start = semicolon;
  while (/[A-Za-z0-9]/.test(text[start - 1] ?? "")) start -= 1;
  return start < semicolon && text[start - 1] === "&" ? start - 1 : semicolon;
}

function sticky(pattern, text, place) {
  pattern.lastIndex = place;
  return pattern.exec(text)?.[0] ?? "";
}
