// A recipe of docs/recipes, and the folder of somebody who follows it.

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { blocks } from "../browser/reader.js";
import { Locks } from "./locks.js";

const target = process.env.CARGO_TARGET_DIR ?? resolve(import.meta.dirname, "../../target");

/** For the commands of the pages: caches first, and the flags of Go for which tests/clients has built the standard library. */
export const environment = {
  npm_config_prefer_offline: "true",
  npm_config_audit: "false",
  npm_config_fund: "false",
  NEXT_TELEMETRY_DISABLED: "1",
  GOFLAGS: "-trimpath",
  CGO_ENABLED: "0",
};

export class Recipe {
  /** Reads a page. `base` is the page of the server that its files are added to. */
  static async read(page, base) {
    const recipe = new Recipe();
    recipe.base = base && (await Recipe.read(base));
    recipe.blocks = await blocks(`recipes/${page}`);
    const name = page.replace(/\.md$/, "");
    recipe.folder = join(target, "recipes", name);
    recipe.locks = await Locks.of(name);
    return recipe;
  }

  /** The commands of the page, in order. */
  get commands() {
    return this.blocks.filter(({ file }) => !file).map(({ text }) => text);
  }

  /** The files: those of the base first, so that the recipe's own replace them. */
  get files() {
    return [...(this.base?.files ?? []), ...this.blocks.filter(({ file }) => file)];
  }

  /**
   * Follows the page up to its first command, which installs packages, in an empty folder; once for each text of the page. The
   * packages that those of the page need have the versions of `locks`; with `renew`, those versions are the newest.
   */
  async install({ renew = false } = {}) {
    if (renew) this.locks = new Locks(this.locks.folder);
    const text = JSON.stringify([this.base?.blocks, this.base?.locks, this.blocks, this.locks]);
    const key = createHash("sha256").update(text).digest("hex");
    const stamp = join(this.folder, ".installed");
    if ((await readFile(stamp, "utf8").catch(() => "")) === key) return;
    await rm(this.folder, { recursive: true, force: true });
    await mkdir(this.folder, { recursive: true });
    if (this.base) {
      await this.base.install({ renew: false });
      await cp(this.base.folder, this.folder, { recursive: true, verbatimSymlinks: true });
    }
    // A page may have no packages besides those of its base.
    if (this.commands.length > 0) {
      await this.locks.write(this.folder);
      await this.#installBlocks(this.blocks);
      if (renew) await this.locks.renew(this.folder);
      else await this.locks.check(this.folder);
    }
    await writeFile(stamp, key);
  }

  async #installBlocks(blocks) {
    const end = blocks.findIndex(({ file }) => !file);
    for (const { file, text } of blocks.slice(0, end)) await this.#write(file, text);
    const options = { cwd: this.folder, env: { ...process.env, ...environment, ...this.locks.environment }, maxBuffer: 64 << 20 };
    await promisify(execFile)("bash", ["-euo", "pipefail", "-c", blocks[end].text], options);
  }

  /** Writes the files, with ports replaced by `own`. */
  async write(own) {
    for (const { file, text } of this.files) await this.#write(file, own(text));
  }

  async #write(file, text) {
    const path = join(this.folder, file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
}
