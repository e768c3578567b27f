// Where a conversation is: in the folder of its first tag that begins with "folder:", or in none.

const FOLDER = "folder:";

export const tagOf = (name) => FOLDER + name;

/** Return the name of the folder that a conversation is in; null if it is in none. */
export const folderOf = ({ tags }) => tags?.find((tag) => tag.startsWith(FOLDER) && tag.length > FOLDER.length)?.slice(FOLDER.length) ?? null;
