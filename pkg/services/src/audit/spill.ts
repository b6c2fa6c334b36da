import { z } from "zod";
import { eventId } from "../ids.ts";
import { type AuditSpillOptions, spillMaxBytes } from "./recorder-options.ts";
import { openSpillFile, type SpillFile } from "./spill-file.ts";
import type { AuditEvent } from "./types.ts";

const reference = z.object({ type: z.string(), id: z.string() });

/** A line of the file. */
const line = z.object({
  eventId: z.string().transform((text) => eventId(text)),
  occurredAt: z.iso.datetime().transform((text) => new Date(text)),
  actor: reference,
  action: z.string(),
  target: reference.optional(),
  outcome: z.enum(["success", "denied", "failure"]),
  source: z.record(z.string(), z.string()).optional(),
  attributes: z.record(z.string(), z.string()),
});

/** Events of the file, and where those after them begin. */
export interface SpilledBatch {
  readonly events: readonly AuditEvent[];
  /** Lines that are no events: half of one that was written when the process or the disk failed. */
  readonly damaged: number;
  readonly next: number;
}

const chunkBytes = 262_144;
const newline = 0x0a;

/** Events on disk, one a line: appended, read from the beginning, and thrown away when all have been read and sent. */
export class Spill {
  readonly #options: AuditSpillOptions;
  readonly #maxBytes: number;
  #file: SpillFile | undefined;
  #bytes = 0;
  #position = 0;
  /** Whether the file may end within a line. */
  #isTorn = false;

  constructor(options: AuditSpillOptions) {
    this.#options = options;
    this.#maxBytes = options.maxBytes ?? spillMaxBytes;
  }

  /** What has not been sent, in bytes. */
  get bytes(): number {
    return this.#bytes - this.#position;
  }

  /** Takes over what an earlier process has left. */
  async open(): Promise<void> {
    const file = await (this.#options.open ?? openSpillFile)(this.#options.path);
    this.#bytes = await file.size();
    this.#isTorn = this.#bytes > 0;
    this.#file = file;
  }

  /** @returns how many were written: fewer where the file has no room for more. @throws what the disk says; then none may be there, or some. */
  async append(events: readonly AuditEvent[]): Promise<number> {
    const file = this.#file ?? (await this.open().then(() => this.#file));
    let text = this.#isTorn ? "\n" : "";
    let written = 0;
    for (const event of events) {
      const more = `${JSON.stringify(event)}\n`;
      if (this.#bytes + Buffer.byteLength(text) + Buffer.byteLength(more) > this.#maxBytes) break;
      text += more;
      written += 1;
    }
    if (written === 0 || file === undefined) return 0;
    try {
      await file.append(text);
      this.#isTorn = false;
    } catch (error) {
      this.#isTorn = true;
      throw error;
    } finally {
      this.#bytes = await file.size().catch(() => this.#bytes);
    }
    return written;
  }

  /** The next events, up to `max`; undefined where there are none. */
  async read(max: number): Promise<SpilledBatch | undefined> {
    const file = this.#file;
    if (file === undefined || this.bytes <= 0) return undefined;
    const events: AuditEvent[] = [];
    let damaged = 0;
    let at = this.#position;
    for (let length = chunkBytes; events.length < max;) {
      const bytes = await file.read(at, length);
      const isLast = at + bytes.length >= this.#bytes;
      let start = 0;
      for (let end = bytes.indexOf(newline); end >= 0 && events.length < max; end = bytes.indexOf(newline, start)) {
        damaged += collect(bytes.toString("utf8", start, end), events);
        start = end + 1;
      }
      at += start;
      if (events.length >= max) break;
      if (isLast) {
        // half a line at the end, without its end
        damaged += collect(bytes.toString("utf8", start), events);
        at += bytes.length - start;
        break;
      }
      // a line longer than a chunk
      length = start === 0 ? length * 2 : chunkBytes;
    }
    return { events, damaged, next: at };
  }

  /** What was read has been sent. */
  async done({ next }: SpilledBatch): Promise<void> {
    this.#position = next;
    if (this.bytes > 0 || this.#file === undefined) return;
    await this.#file.clear();
    this.#bytes = 0;
    this.#position = 0;
    this.#isTorn = false;
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }
}

/** @returns 1 for a line that is no event. */
function collect(text: string, events: AuditEvent[]): 0 | 1 {
  if (text === "") return 0;
  try {
    events.push(line.parse(JSON.parse(text)));
    return 0;
  } catch {
    return 1; // told by its number: what it holds may be anything
  }
}
