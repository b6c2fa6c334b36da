import { createHash } from "../node-crypto.ts";
import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { messageOf } from "../errors/app-error.ts";

/** One look at a file: what tells, without reading it again, whether it is another one now. */
export interface FileState {
  readonly stamp: string;
  /** Of the content, or of why there is none. */
  readonly hash: string;
}

export interface TextFile {
  readonly text: string;
  readonly state: FileState;
}

/** As much as any file of the config may have. */
const maxHashedBytes = 1024 * 1024;

/** Why a file could not be read, with its state all the same. */
export class UnreadableFile extends Error {
  readonly state: FileState;

  constructor(cause: unknown, state: FileState) {
    super(messageOf(cause), { cause });
    this.state = state;
  }
}

/**
 * Reads a regular file of UTF-8; a byte order mark is dropped.
 * @throws {@link UnreadableFile} when it is absent, unreadable, another kind of file, larger than `maxBytes`, or not UTF-8.
 */
export function readTextFile(path: string, maxBytes: number): TextFile {
  let stamp = "";
  let hash = "";
  try {
    // a pipe that nobody writes into would be waited for
    const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(file, { bigint: true });
      stamp = stampOf(stats);
      if (!stats.isFile()) throw new Error("it is no regular file");
      if (stats.size > maxBytes) throw new Error(`it has ${stats.size} bytes, at most ${maxBytes} are read`);
      const bytes = readUpTo(file, maxBytes);
      hash = createHash("sha256").update(bytes).digest("hex");
      return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), state: { stamp, hash } };
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw new UnreadableFile(error, {
      stamp: stamp || stampOfFailure(error),
      hash: hash || `unreadable: ${messageOf(error)}`,
    });
  }
}

/** What is at a path now. */
export function fileStateAt(path: string): FileState {
  try {
    return readTextFile(path, maxHashedBytes).state;
  } catch (error) {
    if (error instanceof UnreadableFile) return error.state;
    throw error;
  }
}

/** Another inode, also behind a symbolic link, or another time or size: another content, or another right to read it. */
export function stampOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(":");
}

/** For a file that cannot even be looked at. */
export function stampOfFailure(error: unknown): string {
  return `unreadable: ${error instanceof Error && "code" in error ? String(error.code) : messageOf(error)}`;
}

/** Files may say less than they hold, those of `/proc` do, and may grow meanwhile. */
function readUpTo(file: number, maxBytes: number): Uint8Array {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const chunk = new Uint8Array(64 * 1024);
    const read = readSync(file, chunk);
    if (read === 0) return Buffer.concat(chunks, length);
    length += read;
    if (length > maxBytes) throw new Error(`it has more than the ${maxBytes} bytes that are read`);
    chunks.push(chunk.subarray(0, read));
  }
}
