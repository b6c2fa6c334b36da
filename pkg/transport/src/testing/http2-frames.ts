import { connect, type Socket } from "node:net";

/** A frame of HTTP/2. RFC 9113, 4.1. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export const frameTypes = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const http2Errors = {
  none: 0,
  protocol: 1,
  internal: 2,
  flowControl: 3,
  streamClosed: 5,
  frameSize: 6,
  refused: 7,
  cancel: 8,
  calm: 11,
} as const;

export type Fields = readonly (readonly [name: string, value: string])[];

/** A request without anything special. */
export const plainHead: Fields = [
  [":method", "GET"],
  [":scheme", "http"],
  [":authority", "localhost"],
  [":path", "/"],
];

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const [endStream, endHeaders] = [1, 4] as const;

/** A caller over HTTP/2 in the clear that sends the frames it likes. Answers SETTINGS and PING of the server by nothing. */
export class RawHttp2 {
  readonly socket: Socket;
  readonly frames: Frame[] = [];
  /** Resolves when the connection is closed. */
  readonly closed: Promise<void>;
  #rest: Buffer = Buffer.alloc(0);
  #wake = (): void => {};
  #isClosed = false;

  /** @param settings - Of SETTINGS, by their numbers. Its table of headers is always empty. */
  constructor(port: number, settings: Readonly<Record<number, number>> = {}) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.on("data", (chunk: Buffer) => this.#read(chunk));
    this.socket.on("error", () => {});
    this.closed = new Promise((resolve) => {
      this.socket.once("close", () => {
        this.#isClosed = true;
        this.#wake();
        resolve();
      });
    });
    this.socket.write(preface);
    this.send("settings", 0, 0, settingsOf({ 1: 0, ...settings }));
  }

  send(type: keyof typeof frameTypes, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): void {
    this.socket.write(frameOf(type, flags, stream, payload));
  }

  /** Sends a head in one frame. */
  head(
    stream: number,
    fields: Fields = plainHead,
    options: { readonly end?: boolean; readonly whole?: boolean } = {},
  ): void {
    const { end = true, whole = true } = options;
    this.send("headers", (end ? endStream : 0) | (whole ? endHeaders : 0), stream, fieldBlock(fields));
  }

  data(stream: number, bytes: string, end = true): void {
    this.send("data", end ? endStream : 0, stream, Buffer.from(bytes));
  }

  reset(stream: number, code: number): void {
    this.send("reset", 0, stream, uint32(code));
  }

  window(stream: number, by: number): void {
    this.send("windowUpdate", 0, stream, uint32(by));
  }

  /** Resolves with the first frame for which this holds, of those that came or come; undefined when the connection closes before. */
  async until(holds: (frame: Frame) => boolean): Promise<Frame | undefined> {
    for (let at = 0; ; at++) {
      while (at >= this.frames.length) {
        if (this.#isClosed) return undefined;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
      const frame = this.frames[at];
      if (frame && holds(frame)) return frame;
    }
  }

  /**
   * How the server answers a stream, or ends the connection meanwhile: `200`, `reset 1`, `goaway 11`, `closed`.
   * An informational reply is none.
   */
  async answer(stream: number): Promise<string> {
    const frame = await this.until(
      ({ type, stream: of, payload }) =>
        (type === frameTypes.goaway && payload.readUInt32BE(4) !== 0) ||
        (of === stream && (type === frameTypes.reset || type === frameTypes.headers)),
    );
    if (frame === undefined) return "closed";
    if (frame.type === frameTypes.headers) return String(statusOf(frame.payload));
    const isReset = frame.type === frameTypes.reset;
    return isReset ? `reset ${frame.payload.readUInt32BE(0)}` : `goaway ${frame.payload.readUInt32BE(4)}`;
  }

  destroy(): void {
    this.socket.destroy();
  }

  [Symbol.dispose](): void {
    this.destroy();
  }

  #read(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const length = this.#rest.length < 9 ? Infinity : this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length) break;
      const [type, flags, stream] = [this.#rest.readUInt8(3), this.#rest.readUInt8(4), this.#rest.readUInt32BE(5)];
      this.frames.push({ type, flags, stream, payload: this.#rest.subarray(9, 9 + length) });
      this.#rest = this.#rest.subarray(9 + length);
    }
    this.#wake();
  }
}

export function frameOf(type: keyof typeof frameTypes, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(frameTypes[type], 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Fields as literals without indexing or Huffman coding. RFC 7541, 6.2.2. */
export function fieldBlock(fields: Fields): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), textOf(name), textOf(value)]));
}

export function settingsOf(settings: Readonly<Record<number, number>>): Buffer {
  return Buffer.concat(
    Object.entries(settings).map(([id, value]) => {
      const entry = Buffer.alloc(6);
      entry.writeUInt16BE(Number(id), 0);
      entry.writeUInt32BE(value, 2);
      return entry;
    }),
  );
}

/** Frames that cost their sender nothing, and that every server of HTTP/2 is sent without end one day. */
export const floods = {
  pings: {
    what: "PING without end",
    send(caller: RawHttp2): void {
      for (let at = 0; at < 1_000; at++) caller.send("ping", 0, 0, Buffer.alloc(8));
    },
  },
  settings: {
    what: "SETTINGS without end",
    send(caller: RawHttp2): void {
      for (let at = 0; at < 1_000; at++) caller.send("settings", 0, 0);
    },
  },
  entries: {
    what: "SETTINGS of many entries",
    send(caller: RawHttp2): void {
      caller.send("settings", 0, 0, Buffer.concat(Array.from({ length: 500 }, () => settingsOf({ 3: 1 }))));
    },
  },
};

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A length with a prefix of 7 bits, and the text. RFC 7541, 5.1 and 5.2. */
function textOf(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  const length = bytes.length < 127 ? [bytes.length] : [127];
  for (let left = bytes.length - 127; left >= 0; left = left < 128 ? -1 : left >>> 7)
    length.push(left < 128 ? left : (left & 127) | 128);
  return Buffer.concat([Buffer.from(length), bytes]);
}

/** The status at the beginning of a head: from the static table, or digits, with Huffman coding or without. RFC 7541, A and B. */
function statusOf(block: Buffer): number {
  let at = 0;
  while ((block.readUInt8(at) & 0xe0) === 0x20) at++; // the size of the table of headers
  const first = block.readUInt8(at);
  if (first >= 0x88 && first <= 0x8e) return [200, 204, 206, 304, 400, 404, 500][first - 0x88] ?? 0;
  const length = block.readUInt8(at + 1);
  const text = block.subarray(at + 2, at + 2 + (length & 0x7f));
  return Number((length & 0x80) === 0 ? text.toString() : digitsOf(text));
}

function digitsOf(bytes: Buffer): string {
  let bits = [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  let digits = "";
  while (digits.length < 3) {
    const isShort = bits.startsWith("000");
    digits += isShort ? parseInt(bits.slice(0, 5), 2) : parseInt(bits.slice(0, 6), 2) - 22;
    bits = bits.slice(isShort ? 5 : 6);
  }
  return digits;
}
