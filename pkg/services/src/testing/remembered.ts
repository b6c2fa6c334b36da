import type { Clock } from "@plinth/kernel";
import { ServicesError } from "../errors.ts";
import { fingerprint } from "./paging.ts";

interface Answer<Reply> {
  readonly mark: string;
  readonly atMs: number;
  readonly reply: Reply;
}

/** What was answered to requests that may come again: the same answer for the same request. */
export class Remembered<Request extends object, Reply> {
  readonly #clock: Clock;
  readonly #keptMs: number;
  readonly #answers = new Map<string, Answer<Reply>>();

  /** @param keptMs - How long, in milliseconds. Default: 24 hours. */
  constructor(clock: Clock, keptMs = 86_400_000) {
    this.#clock = clock;
    this.#keptMs = keptMs;
  }

  /**
   * What was answered to the request of this id, or what `answer` says now. A failure is not remembered.
   * @throws ServicesError `ERR_REQUEST_ID_REUSED` for another request of the same id.
   */
  once(requestId: string, request: Request, answer: () => Reply): Reply {
    const mark = fingerprint(request);
    const atMs = this.#clock.monotonicMs();
    const known = this.#answers.get(requestId);
    if (known === undefined || atMs - known.atMs >= this.#keptMs) {
      const reply = answer();
      this.#answers.set(requestId, { mark, atMs, reply });
      return reply;
    }
    if (known.mark === mark) return known.reply;
    throw new ServicesError(
      "ERR_REQUEST_ID_REUSED",
      "failed_precondition",
      "another request was sent under this request id; give each request an id of its own",
    );
  }
}
