import { isRecord } from "../config/data.ts";
import type { LogDestination } from "../logger/pino.ts";

/** Keeps log lines as parsed objects, those in the format `pretty` as a message alone: hand it to `createApp({ logDestination })` or `createLogger({ destination })`. */
export class MemoryLog implements LogDestination {
  readonly lines: Record<string, unknown>[] = [];

  write(line: string): void {
    this.lines.push(parsed(line) ?? { message: line.trimEnd() });
  }

  /** Lines with this message. */
  withMessage(message: string): Record<string, unknown>[] {
    return this.lines.filter((line) => line.message === message);
  }
}

function parsed(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined; // written for people
  }
}
