import { randomBytes } from "node:crypto";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseKeySet, type KeySet } from "./key-set.ts";
import { readSmallFile } from "./key-source.ts";
import { parseStrictObject } from "./strict-json.ts";

const maxFileBytes = 1_048_576;
/** A snapshot may be younger than now by so much, in milliseconds: the clock may have been set back. */
const maxAheadMs = 300_000;

export interface KeySnapshotOptions {
  /** Folder of the snapshots, made with mode 0700 if it is not there. */
  readonly folder: string;
  /** Name of the provider: of the file as well. */
  readonly name: string;
  readonly issuer: string;
  /** URL of the key set: a snapshot of another one is not taken. */
  readonly url: string;
}

export interface SavedKeys {
  readonly set: KeySet;
  readonly ageMs: number;
}

/** An issuer's last good key set on disk, for a start while the issuer is down. Holds public keys only. */
export class KeySnapshot {
  readonly file: string;
  readonly #options: KeySnapshotOptions;

  constructor(options: KeySnapshotOptions) {
    this.#options = options;
    this.file = join(options.folder, `${options.name}.jwks.json`);
  }

  /**
   * @returns Undefined when there is none.
   * @throws Error when there is one that cannot be trusted: others may write it, it is of another issuer or URL, or from the future.
   */
  async read(nowMs: number): Promise<SavedKeys | undefined> {
    const { issuer, url } = this.#options;
    const state = await stat(this.file).catch((error: unknown) => {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
      throw error;
    });
    if (!state) return undefined;
    if ((state.mode & 0o022) !== 0) throw new Error("others than its owner may write it; expected mode 0600");
    const owner = process.geteuid?.();
    if (owner !== undefined && state.uid !== owner) throw new Error("it belongs to another user");
    const saved = parseStrictObject(await readSmallFile(this.file, maxFileBytes));
    if (saved.issuer !== issuer || saved.url !== url) throw new Error("it is of another issuer or URL");
    if (typeof saved.savedAtMs !== "number") throw new Error("it does not say when it was written");
    const ageMs = nowMs - saved.savedAtMs;
    if (!(ageMs > -maxAheadMs)) throw new Error("it was written later than now");
    return { set: parseKeySet(JSON.stringify({ keys: saved.keys }), { strict: true }), ageMs: Math.max(0, ageMs) };
  }

  /** Writes it beside the old one and puts it in its place whole, so that no reader ever sees half of one. */
  async write(set: KeySet, savedAtMs: number): Promise<void> {
    const { folder, issuer, url } = this.#options;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const beside = `${this.file}.${process.pid}.${randomBytes(4).toString("hex")}`;
    try {
      await using handle = await open(beside, "wx", 0o600);
      await handle.writeFile(
        `{"issuer":${JSON.stringify(issuer)},"url":${JSON.stringify(url)},"savedAtMs":${savedAtMs},"keys":${set.text}}\n`,
      );
      await handle.sync();
      await rename(beside, this.file);
    } catch (error) {
      await rm(beside, { force: true });
      throw error;
    }
  }
}
