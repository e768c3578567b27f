// Where a conversation is: in the folder of its first tag that begins with "folder:", or in none.

import { has } from "./features.js";

const FOLDER = "folder:";

export const tagOf = (name) => FOLDER + name;

const isFolder = (tag) => has("folders") && tag.startsWith(FOLDER) && tag.length > FOLDER.length;

/** Return the name of the folder that a conversation is in; null if it is in none. */
export const folderOf = ({ tags }) => tags?.find(isFolder)?.slice(FOLDER.length) ?? null;
