import { requireNumber } from "@plinth/kernel";
import type { SharedText, SharedTexts, TextChange, TextChanges } from "../shared/texts.ts";
import { openRedisLink, type RedisLink, type RedisLinkOptions } from "./link.ts";

export interface RedisTextsOptions extends RedisLinkOptions {
  /** What the list is called, in keys. */
  readonly list: string;
  /** Texts that there may be, those taken out lately included, 1 or more. Default 100_000. */
  readonly max?: number | undefined;
}

/** How many changes are read, or made, at one time: the store does nothing else meanwhile. */
const maxAtOnce = 500;
/** For how long it is remembered that a text was taken out, in milliseconds. */
const rememberMs = 24 * 3_600_000;

/**
 * A list of texts in Redis, or what speaks like it. Resolves as `openRedisLink` does.
 * @throws {@link OptionError} `ERR_OPTION_RANGE`
 */
export async function openTexts(options: RedisTextsOptions): Promise<SharedTexts> {
  const { list, max = 100_000, keyPrefix = "plinth" } = options;
  requireNumber("max", max, { min: 1 });
  // The braces keep both on one node of a Cluster.
  const keys = ["order", "until"].map((part) => `${keyPrefix}:{${list}}:${part}`);
  return new RedisTexts(await openRedisLink(options), keys, max);
}

class RedisTexts implements SharedTexts {
  readonly #link: RedisLink;
  readonly #keys: readonly string[];
  readonly #max: number;

  constructor(link: RedisLink, keys: readonly string[], max: number) {
    this.#link = link;
    this.#keys = keys;
    this.#max = max;
  }

  get name(): string {
    return this.#link.name;
  }

  get lastError(): unknown {
    return this.#link.lastError;
  }

  async add(texts: readonly SharedText[], { onlyMissing = false } = {}): Promise<number> {
    const pairs = texts.flatMap(({ text, untilMs }) => [text, untilMs === undefined ? "inf" : `${Math.ceil(untilMs)}`]);
    return Number(await this.#link.run("addTexts", this.#keys, [`${this.#max}`, onlyMissing ? "1" : "0", ...pairs]));
  }

  async remove(texts: readonly string[]): Promise<void> {
    await this.#link.run("removeTexts", this.#keys, [`${rememberMs}`, ...texts]);
  }

  async changesSince(since: number): Promise<TextChanges> {
    const reply = await this.#link.run("changedTexts", this.#keys, [`${since}`, `${maxAtOnce}`]);
    if (!Array.isArray(reply) || reply.length < 2) throw new Error("the store gave no list of changes");
    const [head, next, ...found] = reply.map(String);
    const changes = found.flatMap((member, at): TextChange[] => {
      if (at % 2 === 1) return [];
      const untilMs = Number(found[at + 1]);
      const op = member.startsWith("+") ? "add" : "remove";
      return [{ op, text: member.slice(1), untilMs: Number.isFinite(untilMs) ? untilMs : undefined }];
    });
    return { changes, next: Number(next), head: Number(head) };
  }

  close(): Promise<void> {
    return this.#link.close();
  }
}
