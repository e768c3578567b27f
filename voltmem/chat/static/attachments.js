// The files that a question will have: chosen, pasted or dropped. Each is uploaded at once.

import * as api from "./api.js";
import { byId, element, iconButton } from "./dom.js";
import { settings } from "./settings.js";
import { t } from "./texts.js";
import { showError } from "./toast.js";

const [list, input, button] = [byId("attachments"), byId("files"), byId("attach")];
let attached = []; // {file, element, uploaded: a promise of the part, or of null if it failed}
const files = new WeakMap(); // by the part
let changed = () => {};

/** Start the button, pasting and dropping. onChange is called when there are more files, or fewer. */
export function startAttachments({ onChange }) {
  if (!settings.uploads.length) return;
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

export const hasAttachments = () => attached.length > 0;

/** Return the parts of the files, once they are uploaded, and forget them. Resolves to null if one failed. */
export async function takeAttachments() {
  const taken = attached;
  const parts = await Promise.all(taken.map(({ uploaded }) => uploaded));
  if (parts.includes(null)) return null;
  parts.forEach((part, place) => files.set(part, taken[place]));
  attached = attached.filter((each) => !taken.includes(each));
  show();
  return parts;
}

/** Attach files again whose question could not be sent. */
export function restoreAttachments(parts) {
  attached = [...parts.map((part) => files.get(part)), ...attached];
  show();
}

function attach(given) {
  for (const file of given) {
    const reason = refused(file);
    if (reason) showError(new api.Problem(reason));
    else attached.push(begun(file));
  }
  show();
}

function refused({ name, type, size }) {
  const isTaken = settings.uploads.some((wanted) => wanted === type || (wanted.endsWith("/*") && type.startsWith(wanted.slice(0, -1))));
  if (!isTaken) return t("{name} can’t be attached: files of this kind aren’t taken.", { name });
  if (size > settings.maxFileBytes) return t("{name} is too large: at most {size} MB.", { name, size: Math.floor(settings.maxFileBytes / 2 ** 20) });
  return null;
}

function begun(file) {
  /** @type {any} */
  const mine = { file };
  const remove = iconButton("close", t("Remove {name}", { name: file.name }), () => {
    attached = attached.filter((each) => each !== mine);
    show();
    byId("composer-text").focus();
  });
  const picture = file.type.startsWith("image/") ? element("img", { alt: "" }) : null;
  mine.element = element("li", { class: "attachment attachment-uploading" }, picture, element("span", { dir: "auto" }, file.name), remove);
  mine.uploaded = uploaded(mine, picture);
  return mine;
}

async function uploaded({ file, element: shown }, picture) {
  try {
    const { url } = await api.upload(file);
    shown.classList.remove("attachment-uploading");
    if (picture) picture.src = url;
    return { type: "file", url, mediaType: file.type, filename: file.name };
  } catch (error) {
    shown.classList.replace("attachment-uploading", "attachment-failed");
    shown.setAttribute("aria-label", t("{name} could not be uploaded", { name: file.name }));
    showError(error);
    return null;
  }
}

function show() {
  list.replaceChildren(...attached.map((each) => each.element));
  list.hidden = !attached.length;
  changed();
}
