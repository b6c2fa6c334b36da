import { isIPv4, isIPv6 } from "node:net";
import { crc32c } from "./crc32c.ts";

/** Who connected to the load balancer. */
export interface ProxySource {
  readonly address: string;
  readonly port: number;
}

export type ProxyHeader =
  /** What is there may become one. */
  | "more"
  /** It is none. */
  | "invalid"
  /** @property source - Undefined where the balancer speaks for itself, as for its health checks, or does not know. */
  | { readonly length: number; readonly source: ProxySource | undefined };

const signature = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
const word = Buffer.from("PROXY ");
/** The longest line of version 1, its end included. */
const maxLineBytes = 107;
/** Of version 2 behind its first 16 bytes; balancers send some hundred. */
const maxRestBytes = 4_096;
const fixedBytes = 16;
const checksumType = 0x03;
/** Bytes of addresses and ports by family and transport. */
const addressBytes: Readonly<Record<number, number>> = { 0x11: 12, 0x21: 36, 0x31: 216 };

/**
 * Reads the header with which a connection begins.
 * @param bytes - All that has come so far.
 * @see https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
 */
export function readProxyHeader(bytes: Buffer): ProxyHeader {
  if (bytes.length === 0) return "more";
  return bytes[0] === signature[0] ? readBinary(bytes) : readLine(bytes);
}

function readLine(bytes: Buffer): ProxyHeader {
  if (!beginsAlike(bytes, word)) return "invalid";
  const end = bytes.subarray(0, maxLineBytes).indexOf("\n");
  if (end < 0) return bytes.length < maxLineBytes ? "more" : "invalid";
  if (bytes[end - 1] !== 0x0d) return "invalid";
  const line = bytes.toString("latin1", 0, end - 1);
  const length = end + 1;
  if (/^PROXY UNKNOWN(?: [^\r]*)?$/.test(line)) return { length, source: undefined };
  const [, family, address = "", target = "", port = "", targetPort = ""] =
    /^PROXY TCP([46]) ([\d.a-fA-F:]+) ([\d.a-fA-F:]+) (\d{1,5}) (\d{1,5})$/.exec(line) ?? [];
  const isAddress = family === "4" ? isIPv4 : isIPv6;
  if (family === undefined || !isAddress(address) || !isAddress(target)) return "invalid";
  if (!isPort(port) || !isPort(targetPort)) return "invalid";
  return { length, source: { address, port: Number(port) } };
}

function readBinary(bytes: Buffer): ProxyHeader {
  if (!beginsAlike(bytes, signature)) return "invalid";
  const command = bytes[12];
  const kind = bytes[13];
  if (command !== undefined && command !== 0x20 && command !== 0x21) return "invalid";
  if (bytes.length < fixedBytes) return "more";
  const rest = bytes.readUInt16BE(14);
  if (rest > maxRestBytes) return "invalid";
  const length = fixedBytes + rest;
  // For itself, or of an unknown kind: whatever follows says nothing of a client.
  if (command === 0x20 || kind === 0x00) return bytes.length < length ? "more" : { length, source: undefined };
  const needed = addressBytes[kind ?? -1];
  if (needed === undefined || rest < needed) return "invalid";
  if (bytes.length < length) return "more";
  const header = bytes.subarray(0, length);
  if (!areFieldsWhole(header, fixedBytes + needed)) return "invalid";
  return { length, source: sourceIn(header, needed) };
}

function sourceIn(header: Buffer, needed: number): ProxySource | undefined {
  if (needed === 12) {
    return { address: [...header.subarray(16, 20)].join("."), port: header.readUInt16BE(24) };
  }
  if (needed !== 36) return undefined; // a socket of the file system has no address
  const groups = Array.from({ length: 8 }, (_, index) => header.readUInt16BE(16 + index * 2).toString(16));
  return { address: new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1), port: header.readUInt16BE(48) };
}

/** The fields behind the addresses end where the header does, and a checksum among them is right. */
function areFieldsWhole(header: Buffer, from: number): boolean {
  let at = from;
  while (at < header.length) {
    if (at + 3 > header.length) return false;
    const valueAt = at + 3;
    const end = valueAt + header.readUInt16BE(at + 1);
    if (end > header.length) return false;
    if (header[at] === checksumType) {
      if (end - valueAt !== 4) return false;
      const zeroed = Buffer.from(header).fill(0, valueAt, end);
      if (crc32c(zeroed) !== header.readUInt32BE(valueAt)) return false;
    }
    at = end;
  }
  return true;
}

function beginsAlike(bytes: Buffer, expected: Buffer): boolean {
  const length = Math.min(bytes.length, expected.length);
  return bytes.subarray(0, length).equals(expected.subarray(0, length));
}

function isPort(text: string): boolean {
  return (text === "0" || !text.startsWith("0")) && Number(text) <= 65_535;
}
