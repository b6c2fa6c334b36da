// What goes between the gateway and an origin, byte by byte, read as strictly as the standard is written.
import { once } from "node:events";
import { connect, createServer } from "node:net";

/** A request as it was written to the origin. */
export interface SentRequest {
  readonly method: string;
  readonly target: string;
  /** Lower-case name and value, line by line. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: string;
}

export interface Tap extends AsyncDisposable {
  readonly port: number;
  /** Requests since the last time. */
  take(): SentRequest[];
  /** What stands on connections behind the last whole request; of those that are closed no more. */
  readonly unfinished: readonly string[];
}

interface Stream {
  text: string;
  isOpen: boolean;
}

/** Passes connections on to a port of this machine, and takes down what is sent there. Replies to `/hang` are held back. */
export async function startTap(target: number): Promise<Tap> {
  const streams = new Set<Stream>();
  let taken: SentRequest[] = [];
  const takeAll = (): void => {
    for (const stream of streams) {
      const { read, rest } = readRequests(stream.text);
      taken.push(...read);
      stream.text = rest;
      if (!stream.isOpen) streams.delete(stream);
    }
  };
  const server = createServer((socket) => {
    const stream = { text: "", isOpen: true };
    streams.add(stream);
    const behind = connect(target, "127.0.0.1");
    socket.on("data", (chunk: Buffer) => {
      const text = chunk.toString("latin1");
      stream.text += text;
      if (text.includes(" /hang HTTP/1.1\r\n")) behind.unpipe(socket);
    });
    socket.on("error", () => behind.destroy()).on("close", () => ((stream.isOpen = false), behind.destroy()));
    behind.on("error", () => socket.resetAndDestroy()).on("close", () => socket.destroySoon());
    socket.pipe(behind).pipe(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the tap has no port");
  return {
    port: address.port,
    take() {
      takeAll();
      const requests = taken;
      taken = [];
      return requests;
    },
    get unfinished() {
      takeAll();
      return [...streams].filter(({ text }) => text !== "").map(({ text }) => text);
    },
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}

/** @throws When the bytes begin with anything but requests that can be read in one way. */
export function readRequests(text: string): { readonly read: SentRequest[]; readonly rest: string } {
  const read: SentRequest[] = [];
  let rest = text;
  for (;;) {
    const next = readRequest(rest);
    if (next === undefined) return { read, rest };
    read.push(next.request);
    rest = rest.slice(next.length);
  }
}

function readRequest(text: string): { readonly request: SentRequest; readonly length: number } | undefined {
  const stop = text.indexOf("\r\n\r\n");
  if (stop < 0) return undefined;
  const [line = "", ...lines] = text.slice(0, stop).split("\r\n");
  const [, method = "", target = ""] = must(/^([A-Z][A-Z-]*) (\/[!-~]*|\*) HTTP\/1\.1$/, line);
  const fields = lines.map((one) => {
    const [, name = "", value = ""] = must(/^([!#$%&'*+.^_`|~\w-]+): ([\t -~\u0080-\u00ff]*)$/, one);
    return [name.toLowerCase(), value] as const;
  });
  const valuesOf = (wanted: string): string[] => fields.filter(([name]) => name === wanted).map(([, value]) => value);
  const [hosts, lengths, codings] = [valuesOf("host"), valuesOf("content-length"), valuesOf("transfer-encoding")];
  if (hosts.length !== 1) throw new Error(`${hosts.length} hosts were sent to the origin: ${line}`);
  if (lengths.length + codings.length > 1) throw new Error(`the body has more than one length: ${line}`);
  const body = bodyOf(text.slice(stop + 4), lengths[0], codings[0]);
  return body && { request: { method, target, fields, body: body.body }, length: stop + 4 + body.length };
}

function bodyOf(
  text: string,
  length: string | undefined,
  coding: string | undefined,
): { readonly body: string; readonly length: number } | undefined {
  if (coding === undefined) {
    const [size = "0"] = must(/^\d+$/, length ?? "0");
    return text.length < Number(size) ? undefined : { body: text.slice(0, Number(size)), length: Number(size) };
  }
  must(/^chunked$/, coding);
  let body = "";
  for (let at = 0; ;) {
    const end = text.indexOf("\r\n", at);
    if (end < 0) return undefined;
    const size = Number.parseInt(must(/^[\da-f]+$/i, text.slice(at, end))[0], 16);
    if (size === 0) return endOf(text, body, end);
    if (text.length < end + 2 + size + 2) return undefined;
    must(/^\r\n$/, text.slice(end + 2 + size, end + 4 + size));
    body += text.slice(end + 2, end + 2 + size);
    at = end + 4 + size;
  }
}

/** Trailers, and the empty line behind them. */
function endOf(
  text: string,
  body: string,
  end: number,
): { readonly body: string; readonly length: number } | undefined {
  const stop = text.indexOf("\r\n\r\n", end);
  return stop < 0 ? undefined : { body, length: stop + 4 };
}

function must(pattern: RegExp, text: string): RegExpExecArray {
  const match = pattern.exec(text);
  if (!match)
    throw new Error(`sent to the origin, which is not ${String(pattern)}: ${JSON.stringify(text.slice(0, 300))}`);
  return match;
}
