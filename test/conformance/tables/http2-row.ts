import type { RawHttp2 } from "../../../pkg/transport/src/testing/http2-frames.ts";

/** As a `Row`, over HTTP/2. */
export interface Http2Row {
  readonly what: string;
  readonly send: (caller: RawHttp2) => void | Promise<void>;
  /** How the gateway answers, as `RawHttp2.answer` says it, and the reason of an answer of its own. */
  readonly answer: RegExp;
  /** The stream that is asked about. Default 1. */
  readonly stream?: number;
  /** Requests that are whole at the origin, `GET /x`. Default: none. */
  readonly reaches?: readonly string[];
  /** How many more may have begun there: floods are stopped, but not before their first. */
  readonly mayReach?: number;
  /** Of the last that reaches the origin: by lower-case name its values. */
  readonly fields?: Readonly<Record<string, readonly string[]>>;
  readonly body?: string;
}
