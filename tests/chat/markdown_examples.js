// Runs in the page: draws examples of Markdown and compares them with the HTML of a specification.

globalThis.examine = async (suites) => {
  const { Markdown, loadMarkdown } = await import("/static/markdown.js");
  await loadMarkdown();
  const whole = (text) => new Markdown().show(text);
  const grown = (text) => {
    const made = new Markdown();
    for (let end = 1; end < text.length; end += 1) made.show(text.slice(0, end), { isGrowing: true });
    return made.show(text);
  };
  const wrong = {};
  for (const [name, examples] of Object.entries(suites)) {
    wrong[name] = [];
    for (const { number, section, markdown, html } of examples) {
      const wanted = normal(expected(html));
      for (const draw of [whole, grown]) {
        const drawn = draw(markdown);
        const got = normal(drawn);
        if (got === wanted) continue;
        wrong[name].push({ number, section, markdown, wanted, got, text: drawn.textContent, isWhole: draw === whole });
        break;
      }
    }
  }
  return wrong;
};

/** Return the elements of a specification's HTML, with the headings that the page has. */
function expected(html) {
  const inert = html.replaceAll(/<(\/?)(style|script)/gi, "<$1not-$2").replaceAll(/ (style|on\w+)=/g, " not-$1=");
  const made = new DOMParser().parseFromString(inert, "text/html").body;
  for (const heading of made.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const level = Math.min(Number(heading.tagName[1]) + 1, 6);
    const lower = document.createElement(`h${level}`);
    lower.append(...heading.childNodes);
    heading.replaceWith(lower);
  }
  return made;
}

const BLOCKS = new Set("P H2 H3 H4 H5 H6 UL OL LI BLOCKQUOTE PRE HR TABLE THEAD TBODY TR TH TD".split(" "));

/** Return a text that is the same for the same elements, whoever made them. */
function normal(root) {
  const parts = [];
  let text = "";
  const flush = (isBlock) => {
    if (isBlock) text = text.replace(/^\n+|\n+$/g, "");
    if (text) parts.push(JSON.stringify(text));
    text = "";
  };
  const visit = (node) => {
    if (node.nodeType !== Node.ELEMENT_NODE) return void (text += node.data);
    const [tag, attributes, children] = described(node);
    flush(BLOCKS.has(tag));
    parts.push(`<${tag}${attributes}>`);
    children.forEach(visit);
    flush(BLOCKS.has(tag));
    parts.push(`</${tag}>`);
  };
  [...root.childNodes].forEach(visit);
  flush(true);
  return parts.join("");
}

function described(node) {
  const get = (name) => node.getAttribute(name);
  const list = (named) => Object.entries(named).map(([name, value]) => (value ? ` ${name}=${JSON.stringify(value)}` : "")).join("");
  const code = node.matches("figure.code") ? node.querySelector("pre > code") : node.matches("pre") ? (node.querySelector("code") ?? node) : null;
  if (code) {
    const shown = node.querySelector("figcaption")?.firstChild.data;
    const language = shown === undefined ? code.className.replace("language-", "") : shown === "text" ? "" : shown;
    return ["PRE", list({ language }), [new Text(code.textContent.replace(/\n$/, ""))]];
  }
  if (node.matches("div.table")) return described(node.firstChild);
  const address = get("href") ?? get("data-address") ?? get("src");
  const title = get("title") === get("data-address") ? null : get("title");
  if (node.matches("img, .image")) return ["IMG", list({ address, title, name: get("alt") ?? (node.textContent === address ? "" : node.textContent) }), []];
  if (node.matches("a, .unlinked")) return ["A", list({ address, title }), [...node.childNodes]];
  if (node.matches("li")) return ["LI", list({ task: taskOf(node) }), withoutBox(node)];
  const align = get("align") ?? get("class")?.replace("align-", "");
  return [node.tagName, list({ start: get("start"), align }), [...node.childNodes]];
}

const boxOf = (item) => item.querySelector(":scope > input, :scope > p:first-child > input");
const taskOf = (item) => item.className || (boxOf(item) && (boxOf(item).checked ? "task-done" : "task-open"));

function withoutBox(item) {
  const box = boxOf(item);
  if (box?.nextSibling?.data) box.nextSibling.data = box.nextSibling.data.trimStart();
  return [...item.childNodes].filter((each) => each !== box);
}
