// <voltmem-sidebar>: the sidebar of the chat as a web component, for the page of any application on the same site.
//
//     <script type="module" src="/chat/static/component.js"></script>
//     <voltmem-sidebar current="…"><h1 slot="head">My app</h1></voltmem-sidebar>
//
// It is in the language of its lang attribute, or in the browser's. It sends the events voltmem-open {conversationId,
// messageId, words}, voltmem-new, and voltmem-change {conversationId, conversation}. Without preventDefault(), the first
// two lead to the chat's own page. A page has one sidebar.

import { base, conversationAt, setNavigate } from "./addresses.js";
import { setRoot } from "./dom.js";
import { readFeatures } from "./features.js";

const STYLES = ["tokens", "frame", "sidebar", "dialog"];
const PARTS = ["texts", "sidebar", "menu", "toasts", "announcer"]; // the sidebar has the responses that the page carries
// The head, what only makes sense beside the chat's own conversation, and the edge: the application sizes the element.
const LEFT_OUT = ".skip, #shortcuts, #splitter";

let isTaken = false;

class VoltmemSidebar extends HTMLElement {
  static observedAttributes = ["current"];
  #list = null; // the module, once it is loaded

  connectedCallback() {
    if (isTaken) return; // this one, moved in the page, or a second one
    isTaken = true;
    this.#start().catch((error) => this.dispatchEvent(new ErrorEvent("error", { error, message: error.message })));
  }

  attributeChangedCallback() {
    this.#list?.setCurrent(this.current);
  }

  /** The id of the conversation that is marked as open; null: none. */
  get current() {
    return this.getAttribute("current");
  }

  set current(id) {
    if (id === null) this.removeAttribute("current");
    else this.setAttribute("current", id);
  }

  async #start() {
    const shadow = this.attachShadow({ mode: "open" });
    shadow.addEventListener("click", (event) => this.#clicked(event)); // also on the first rows, which are links already
    await Promise.all(STYLES.map((name) => styled(shadow, name)));
    shadow.append(...(await parts(this.lang)));
    const buttons = [...shadow.querySelectorAll("button")];
    for (const each of buttons) each.inert = true; // until the modules hear its clicks
    setRoot(shadow); // before the modules below look for their elements
    const [{ startSidebar }, { startWatching }, list, { listen }] = await Promise.all(
      ["sidebar", "live", "list", "store"].map((name) => import(`./${name}.js`)),
    );
    setNavigate((path) => this.#open(path));
    listen((conversationId, conversation) => this.#send("voltmem-change", { conversationId, conversation }));
    startSidebar();
    for (const each of buttons) each.inert = false;
    startWatching({ onReady: list.reload });
    this.#list = list;
    list.setCurrent(this.current);
  }

  #clicked(event) {
    const link = event.target.closest("a[href]");
    if (!link || link.target || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.#open(link.pathname + link.hash, link.dataset.words);
  }

  #open(path, words = "") {
    const [address, hash] = path.split("#");
    const id = conversationAt(address);
    const detail = { conversationId: id && decodeURIComponent(id), messageId: hash ? decodeURIComponent(hash) : null, words };
    if (this.#send(id ? "voltmem-open" : "voltmem-new", id ? detail : null)) location.assign(path);
  }

  /** Send an event. Returns whether nobody has prevented what follows. */
  #send(name, detail) {
    return this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true, cancelable: name !== "voltmem-change" }));
  }
}

/** Add a style sheet. Resolves when it is loaded, so that nothing is shown without it. */
const styled = (shadow, name) =>
  new Promise((resolve, reject) => {
    const link = document.createElement("link");
    Object.assign(link, { rel: "stylesheet", href: `${base}static/${name}.css`, onload: resolve });
    link.onerror = () => reject(new Error(`${link.href} can’t be loaded`));
    shadow.append(link);
  });

/** Return the elements of the sidebar, from the chat's own page, in a language; "" for the browser's. */
async function parts(lang) {
  const response = await fetch(base, { headers: lang ? { "Accept-Language": lang } : {} });
  if (!response.ok) throw new Error(`${base} answered with ${response.status}`);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  readFeatures(page);
  const head = Object.assign(document.createElement("slot"), { name: "head" });
  page.querySelector(".sidebar-head").replaceWith(head);
  page.querySelectorAll(LEFT_OUT).forEach((each) => each.remove());
  const { lang: shown, dir } = page.documentElement; // those of the page around the sidebar may be others
  return PARTS.map((id) => Object.assign(document.adoptNode(page.getElementById(id)), { lang: shown, dir }));
}

customElements.define("voltmem-sidebar", VoltmemSidebar);
