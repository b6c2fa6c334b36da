import type { LogDestination } from "../logger/pino.ts";

/** Keeps log lines as parsed objects: hand it to `createApp({ logDestination })` or `createLogger({ destination })`. */
export class MemoryLog implements LogDestination {
  readonly lines: Record<string, unknown>[] = [];

  write(line: string): void {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the logger writes objects only
    this.lines.push(JSON.parse(line) as Record<string, unknown>);
  }

  /** Lines with this message. */
  withMessage(message: string): Record<string, unknown>[] {
    return this.lines.filter((line) => line.message === message);
  }
}
