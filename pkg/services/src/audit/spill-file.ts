import { type FileHandle, open } from "node:fs/promises";

/** A file that events are appended to. */
export interface SpillFile {
  size(): Promise<number>;
  append(text: string): Promise<void>;
  /** Up to `length` bytes from `position`; empty at the end. */
  read(position: number, length: number): Promise<Buffer>;
  /** Throws away all it holds. */
  clear(): Promise<void>;
  close(): Promise<void>;
}

/** Readable by its owner alone: events tell who did what. */
export async function openSpillFile(path: string): Promise<SpillFile> {
  const file: FileHandle = await open(path, "a+", 0o600);
  return {
    size: async () => (await file.stat()).size,
    append: async (text) => {
      await file.appendFile(text);
      await file.datasync();
    },
    read: async (position, length) => {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, position);
      return buffer.subarray(0, bytesRead);
    },
    clear: () => file.truncate(0),
    close: () => file.close(),
  };
}
