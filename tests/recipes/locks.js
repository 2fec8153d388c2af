// The versions of all packages of a recipe, in tests/recipes/locks: the pages name only those that an application asks for.

import { execFile } from "node:child_process";
import { access, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

/** Files of npm and Go, which their commands read and write. */
const OWN = ["package.json", "package-lock.json", "go.sum"];
/** For pip, which has no such file. */
const PIP = "constraints.txt";

export class Locks {
  /** Texts by name. */
  files = {};

  constructor(folder) {
    this.folder = folder;
  }

  /** Reads those of a recipe. */
  static async of(name) {
    const locks = new Locks(resolve(import.meta.dirname, "locks", name));
    for (const file of await readdir(locks.folder).catch(() => [])) {
      locks.files[file] = await readFile(join(locks.folder, file), "utf8");
    }
    return locks;
  }

  /** For the commands that install packages. */
  get environment() {
    return this.files[PIP] ? { PIP_CONSTRAINT: join(this.folder, PIP) } : {};
  }

  /** Writes the files into the folder of somebody who follows the recipe, before the packages are installed. */
  async write(folder) {
    for (const name of OWN) if (this.files[name]) await writeFile(join(folder, name), this.files[name]);
  }

  /** Fails if other packages were installed. */
  async check(folder) {
    const found = await installed(folder);
    const other = Object.keys({ ...found, ...this.files }).filter((name) => found[name] !== this.files[name]);
    if (other.length === 0) return;
    throw new Error(`${folder}: other packages than those of ${this.folder} (${other}); run node tests/recipes/lock.js`);
  }

  /** Takes what was installed. */
  async renew(folder) {
    this.files = await installed(folder);
    await rm(this.folder, { recursive: true, force: true });
    for (const [name, text] of Object.entries(this.files)) {
      await mkdir(this.folder, { recursive: true });
      await writeFile(join(this.folder, name), text);
    }
  }
}

/** What the packages in a folder are, as the files say. */
async function installed(folder) {
  const found = {};
  for (const name of OWN) {
    const text = await readFile(join(folder, name), "utf8").catch(() => undefined);
    if (text) found[name] = text;
  }
  const pip = join(folder, "venv/bin/pip");
  const hasPip = await access(pip).then(
    () => true,
    () => false,
  );
  if (hasPip) found[PIP] = (await promisify(execFile)(pip, ["freeze"])).stdout;
  return found;
}
