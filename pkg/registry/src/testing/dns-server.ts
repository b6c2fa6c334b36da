import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { isIP } from "node:net";

/** Records of one name and type, or what goes wrong with them. Default for names with other records: none; for others: no such name. */
export type DnsAnswer =
  | { readonly addresses: readonly string[]; readonly ttl: number }
  | { readonly targets: readonly DnsTarget[]; readonly ttl: number }
  | "servfail"
  | "refused"
  | "silent"
  | "truncated";

export interface DnsTarget {
  readonly name: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

export type DnsType = "A" | "AAAA" | "SRV";

const types: ReadonlyMap<number, DnsType> = new Map([
  [1, "A"],
  [28, "AAAA"],
  [33, "SRV"],
]);
const codes = { ok: 0, servfail: 2, nxdomain: 3, refused: 5 } as const;

/** A name server on 127.0.0.1 that answers over UDP as told. */
export class DnsServer implements AsyncDisposable {
  /** What was asked, as `name type`, in order. */
  readonly questions: string[] = [];
  readonly #socket: Socket;
  readonly #answers = new Map<string, DnsAnswer>();
  readonly #arrivals = new Set<() => void>();

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("message", (message, { port, address }) => {
      const reply = this.#reply(message);
      if (reply) socket.send(reply, port, address);
      for (const arrived of this.#arrivals) arrived();
    });
  }

  static async start(): Promise<DnsServer> {
    const socket = createSocket("udp4");
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    return new DnsServer(socket);
  }

  get address(): string {
    return `127.0.0.1:${this.#socket.address().port}`;
  }

  /** Answers so from now on; undefined takes the records away. */
  play(name: string, type: DnsType, answer: DnsAnswer | undefined): void {
    if (answer === undefined) this.#answers.delete(`${name} ${type}`);
    else this.#answers.set(`${name} ${type}`, answer);
  }

  /** Waits until a question has come so many times. */
  async asked(question: string, times = 1): Promise<void> {
    while (this.questions.filter((own) => own === question).length < times) {
      const arrival = Promise.withResolvers<void>();
      this.#arrivals.add(arrival.resolve);
      await arrival.promise;
      this.#arrivals.delete(arrival.resolve);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    await once(this.#socket, "close");
  }

  #reply(message: Buffer): Buffer | undefined {
    const { name, type, end } = questionOf(message);
    const word = types.get(type) ?? String(type);
    this.questions.push(`${name} ${word}`);
    const answer = this.#answers.get(`${name} ${word}`);
    if (answer === "silent") return undefined;
    if (answer === "servfail" || answer === "refused") return replyTo(message, end, { code: codes[answer] });
    if (answer === "truncated") return replyTo(message, end, { code: codes.ok }).subarray(0, end - 2);
    if (answer) return replyTo(message, end, { code: codes.ok, records: recordsOf(answer) });
    const isKnown = [...this.#answers.keys()].some((key) => key.startsWith(`${name} `));
    return replyTo(message, end, { code: isKnown ? codes.ok : codes.nxdomain });
  }
}

interface DnsRecord {
  readonly type: number;
  readonly ttl: number;
  readonly data: Buffer;
}

/** @see RFC 1035, 4.1.2 */
function questionOf(message: Buffer): { readonly name: string; readonly type: number; readonly end: number } {
  const labels: string[] = [];
  let at = 12; // the header
  for (let length = message.readUInt8(at); length > 0; length = message.readUInt8(at)) {
    labels.push(message.toString("ascii", at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join(".").toLowerCase(), type: message.readUInt16BE(at + 1), end: at + 5 };
}

/** @see RFC 1035, 4.1.1 and 4.1.3 */
function replyTo(
  message: Buffer,
  end: number,
  { code, records = [] }: { readonly code: number; readonly records?: readonly DnsRecord[] },
): Buffer {
  const head = Buffer.alloc(12);
  message.copy(head, 0, 0, 2); // the id
  head.writeUInt16BE(0x8580 | code, 2); // a reply with authority, and recursion both wanted and had
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(records.length, 6);
  const answers = records.map(({ type, ttl, data }) => {
    const fixed = Buffer.alloc(12);
    fixed.writeUInt16BE(0xc00c, 0); // the name of the question
    fixed.writeUInt16BE(type, 2);
    fixed.writeUInt16BE(1, 4);
    fixed.writeUInt32BE(ttl, 6);
    fixed.writeUInt16BE(data.length, 10);
    return Buffer.concat([fixed, data]);
  });
  return Buffer.concat([head, message.subarray(12, end), ...answers]);
}

function recordsOf(answer: Exclude<DnsAnswer, string>): readonly DnsRecord[] {
  const { ttl } = answer;
  if ("addresses" in answer) {
    return answer.addresses.map((address) =>
      isIP(address) === 6
        ? { type: 28, ttl, data: ipv6(address) }
        : { type: 1, ttl, data: Buffer.from(address.split(".").map(Number)) },
    );
  }
  return answer.targets.map(({ name, port, priority, weight }) => {
    const numbers = Buffer.alloc(6);
    for (const [at, value] of [priority, weight, port].entries()) numbers.writeUInt16BE(value, at * 2);
    const labels = name.split(".").filter((label) => label !== "");
    const encoded = labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
    return { type: 33, ttl, data: Buffer.concat([numbers, ...encoded, Buffer.from([0])]) };
  });
}

function ipv6(address: string): Buffer {
  const [left = "", right = ""] = address.split("::");
  const words = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((word) => Number.parseInt(word, 16));
  const [front, back] = [words(left), words(right)];
  const all = [...front, ...Array.from({ length: 8 - front.length - back.length }, () => 0), ...back];
  const bytes = Buffer.alloc(16);
  for (const [at, word] of all.entries()) bytes.writeUInt16BE(word, at * 2);
  return bytes;
}
