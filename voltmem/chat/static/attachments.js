// The files that a question will have: chosen, pasted or dropped. Each is uploaded at once, and belongs to a draft, which
// keeps it for the next visit. The server deletes files that no message shows after a day: none is deleted from here,
// since a draft in another tab may have the same one.

import * as api from "./api.js";
import { byId, element, iconButton } from "./dom.js";
import { Drafts } from "./drafts.js";
import { settings } from "./settings.js";
import { t } from "./texts.js";
import { showError } from "./toast.js";

const [list, input, button] = [byId("attachments"), byId("files"), byId("attach")];
const uploads = new Drafts("files"); // the parts of the uploaded ones, by the key of the draft
const drafts = new Map(); // all of them, once they were shown: {element, part: null until it is uploaded, ended: a promise}
let place; // the key of the draft in the box
let changed = () => {};

/** Start the button, pasting and dropping. onChange is called when there are more files, or fewer. */
export function startAttachments({ onChange }) {
  changed = onChange;
  button.hidden = false;
  input.accept = settings.uploads.join(",");
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    attach(input.files);
    input.value = "";
  });
  byId("composer-text").addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    attach(event.clipboardData.files);
  });
  const main = byId("main");
  const isFiles = (event) => event.dataTransfer?.types.includes("Files");
  main.addEventListener("dragover", (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    main.classList.add("dropping");
  });
  main.addEventListener("dragleave", (event) => event.relatedTarget && main.contains(event.relatedTarget) || main.classList.remove("dropping"));
  main.addEventListener("drop", (event) => {
    main.classList.remove("dropping");
    if (!isFiles(event)) return;
    event.preventDefault();
    attach(event.dataTransfer.files);
  });
}

export const hasAttachments = () => filesOf(place).length > 0;

/** Show the files of a draft. */
export function openAttachments(key) {
  place = key;
  put(key, filesOf(key));
}

/**
 * Return the parts of the draft's files, once they are uploaded, and forget them. Resolves to null if one failed, or if
 * another draft is shown meanwhile.
 */
export async function takeAttachments() {
  const key = place;
  let files;
  do await Promise.all((files = filesOf(key)).map(({ ended }) => ended));
  while (files !== filesOf(key)); // more were attached meanwhile, or one was removed
  if (key !== place || files.some(({ part }) => !part)) return null;
  put(key, []);
  return files.map(({ part }) => part);
}

/** Attach files again whose question could not be sent. */
export const restoreAttachments = (key, parts) => put(key, [...parts.map(again), ...filesOf(key)]);

/** Move the files of a draft to another one. */
export function moveAttachments(from, to) {
  const moved = filesOf(from);
  put(from, []);
  if (place === from) place = to;
  put(to, [...moved, ...filesOf(to)]);
}

/** Return the files of a draft; at first those that were uploaded in another visit. */
function filesOf(key) {
  if (!drafts.has(key)) drafts.set(key, (uploads.get(key) || []).map(again));
  return drafts.get(key);
}

function put(key, files) {
  drafts.set(key, files);
  uploads.put(key, files.flatMap(({ part }) => part ?? []));
  if (key !== place) return;
  list.replaceChildren(...files.map((each) => each.element));
  list.hidden = !files.length;
  changed();
}

/** Return the key of the draft that has a file; undefined if it was removed. */
const keyOf = (file) => [...drafts].find(([, files]) => files.includes(file))?.[0];

function remove(file) {
  const key = keyOf(file);
  put(key, filesOf(key).filter((each) => each !== file));
}

function attach(given) {
  const taken = [];
  for (const file of given) {
    const reason = refused(file);
    if (reason) showError(new api.Problem(reason));
    else taken.push(begun(file));
  }
  put(place, [...filesOf(place), ...taken]);
}

function refused({ name, type, size }) {
  const isTaken = settings.uploads.some((wanted) => wanted === type || (wanted.endsWith("/*") && type.startsWith(wanted.slice(0, -1))));
  if (!isTaken) return t("{name} can’t be attached: files of this kind aren’t taken.", { name });
  if (size > settings.maxFileBytes) return t("{name} is too large: at most {size} MB.", { name, size: Math.floor(settings.maxFileBytes / 2 ** 20) });
  return null;
}

function begun(file) {
  const mine = shown(file.name, file.type);
  mine.element.classList.add("attachment-uploading");
  mine.ended = uploaded(mine, file);
  return mine;
}

async function uploaded(mine, file) {
  try {
    const { url } = await api.upload(file);
    mine.part = { type: "file", url, mediaType: file.type, filename: file.name };
    mine.element.classList.remove("attachment-uploading");
    showPicture(mine);
    const key = keyOf(mine);
    if (key) put(key, filesOf(key));
  } catch (error) {
    mine.element.classList.replace("attachment-uploading", "attachment-failed");
    mine.element.setAttribute("aria-label", t("{name} could not be uploaded", { name: file.name }));
    showError(error);
  }
}

/** Return a file that was uploaded before, unless the server has deleted it meanwhile. */
function again(part) {
  const mine = shown(part.filename, part.mediaType);
  mine.part = part;
  showPicture(mine);
  mine.ended = isStored(part.url).then((isThere) => {
    if (isThere || !keyOf(mine)) return;
    remove(mine);
    showError(new api.Problem(t("{name} no longer exists. Attach it again.", { name: part.filename })));
  });
  return mine;
}

function shown(name, type) {
  /** @type {any} */
  const mine = { part: null };
  const close = iconButton("close", t("Remove {name}", { name }), () => (remove(mine), byId("composer-text").focus()));
  const picture = type.startsWith("image/") ? element("img", { alt: "" }) : null;
  mine.element = element("li", { class: "attachment" }, picture, element("span", { dir: "auto" }, name), close);
  return mine;
}

function showPicture({ part, element: shown }) {
  const picture = shown.querySelector("img");
  if (picture) picture.src = part.url;
}

/** Return whether a file is stored at an address. If that cannot be known, it is. */
const isStored = (url) => fetch(url, { method: "HEAD" }).then(({ status }) => status !== 404, () => true);
