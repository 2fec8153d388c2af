// The chats' messages: one file for each chat, in the directory DATA. An application has a database.

import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";

const directory = process.env.DATA ?? join(import.meta.dirname, ".data");
await mkdir(directory, { recursive: true });

const path = (id) => {
  if (!/^[\w-]{1,64}$/.test(id)) throw new Error(`not an id of a chat: ${id}`);
  return join(directory, `${id}.json`);
};

/** Returns the messages of a chat. */
export async function load(id) {
  try {
    return JSON.parse(await readFile(path(id), "utf8"));
  } catch (error) {
    if (error.code === "ENOENT") return [];
    throw error;
  }
}

/** Stores the messages of a chat. */
export async function save(id, messages) {
  const draft = `${path(id)}.${process.pid}`;
  await writeFile(draft, JSON.stringify(messages));
  await rename(draft, path(id));
}
