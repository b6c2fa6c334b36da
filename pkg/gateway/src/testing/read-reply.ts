import { type AskedFor, ReplyReader } from "../upstream/http1-reply.ts";

/** What came of a reply. */
export interface ReadReply {
  readonly status: number | undefined;
  readonly headers: readonly string[];
  readonly body: string;
  readonly trailers: readonly string[];
  /** `whole`, `cut off` at the end of the connection, or why it was refused. */
  readonly outcome: string;
  readonly isKept: boolean;
  /** Bytes of it; what follows is not its. */
  readonly used: number;
}

/**
 * Reads bytes as a connection would bring them, and then its end.
 * @param cuts - Where reads divide them.
 */
export function readReply(
  bytes: Buffer,
  asked: AskedFor = { method: "GET", body: null },
  cuts: readonly number[] = [],
): ReadReply {
  const reader = new ReplyReader();
  reader.begin(asked);
  const body: Buffer[] = [];
  let used = 0;
  for (const [at, to] of pieces(bytes.length, cuts)) {
    const piece = Buffer.from(bytes.subarray(at, to));
    used += reader.read(piece, piece.length);
    piece.fill(0); // what was read belongs to the next connection
    if (reader.body) body.push(reader.body);
    if (reader.isDone || reader.fault !== undefined || reader.start?.status === 101) break;
  }
  const isWhole = reader.start?.status === 101 || (reader.fault === undefined && reader.end());
  return {
    status: reader.start?.status,
    headers: reader.start?.headers ?? [],
    body: Buffer.concat(body).toString("latin1"),
    trailers: reader.trailers,
    outcome: reader.fault ?? (isWhole ? "whole" : "cut off"),
    isKept: reader.isKept,
    used,
  };
}

function* pieces(length: number, cuts: readonly number[]): Generator<[number, number]> {
  const ends = [...new Set([...cuts.filter((cut) => cut > 0 && cut < length), length])].toSorted((a, b) => a - b);
  let from = 0;
  for (const end of ends) {
    yield [from, end];
    from = end;
  }
}
