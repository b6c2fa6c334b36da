import { trimmed } from "./tracestate.ts";

/**
 * Facts that go with a request from service to service: a tenant, a test run. Everybody below reads them, nobody vouches for
 * them, and nothing of them is logged.
 */
export type Baggage = ReadonlyMap<string, BaggageEntry>;

export interface BaggageEntry {
  readonly value: string;
  /** What stands behind the value, as it came: `ttl=30;private`. Default: nothing. */
  readonly properties?: string | undefined;
}

/** Of one header, or of all its lines together, in bytes. */
export const maxBaggageBytes = 8_192;
export const maxBaggageMembers = 64;

/** What a member may be called. */
export const baggageName = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** As it stands on the wire: `%` begins an escape. */
const wireValue = /^[!#-+\--:<-[\]-~]*$/;
const wireProperties = /^[\t !#-+\--[\]-~"]*$/;

/**
 * Reads a `baggage` header. It costs as much as its first 8192 characters, whatever it holds.
 *
 * @param header - All lines of it, joined by commas. Of more than 8192 characters only members that end within them are read.
 * @returns At most 64 members; malformed ones are left out, and of one name the last counts. Undefined where none is left.
 * @see https://www.w3.org/TR/baggage/
 */
export function parseBaggage(header: string | undefined): Baggage | undefined {
  if (header === undefined || header === "") return undefined;
  const limit = header.length <= maxBaggageBytes ? header.length : header.lastIndexOf(",", maxBaggageBytes);
  let found: Map<string, BaggageEntry> | undefined;
  for (let start = 0; start < limit && found?.size !== maxBaggageMembers;) {
    const comma = header.indexOf(",", start);
    const end = comma < 0 || comma > limit ? limit : comma;
    if (end > start) found = add(header.slice(start, end), found);
    start = end + 1;
  }
  return found;
}

/** Adds one member to those found; a malformed one to none. */
function add(member: string, found: Map<string, BaggageEntry> | undefined): Map<string, BaggageEntry> | undefined {
  const equals = member.indexOf("=");
  if (equals < 0) return found;
  const name = trimmed(member, 0, equals);
  const entry = baggageName.test(name) ? readEntry(member, equals + 1) : undefined;
  return entry ? (found ?? new Map()).set(name, entry) : found;
}

/**
 * The header that hands `baggage` on: at most 64 members and 8192 bytes, the first ones.
 * @returns Undefined where there is nothing to hand on.
 */
export function formatBaggage(baggage: Baggage | undefined): string | undefined {
  if (baggage === undefined || baggage.size === 0) return undefined;
  let header = "";
  let members = 0;
  for (const [name, { value, properties }] of baggage) {
    const own = `${name}=${encode(value)}${properties === undefined ? "" : `;${properties}`}`;
    if (header.length + 1 + own.length > maxBaggageBytes) continue;
    header = header === "" ? own : `${header},${own}`;
    if (++members === maxBaggageMembers) break;
  }
  return header === "" ? undefined : header;
}

/** As a header, in bytes. */
export function baggageBytes(baggage: Baggage): number {
  let bytes = -1;
  for (const [name, { value, properties }] of baggage) {
    bytes += 2 + name.length + encode(value).length + (properties === undefined ? 0 : 1 + properties.length);
  }
  return Math.max(0, bytes);
}

/** Undefined for what is malformed. */
function readEntry(member: string, start: number): BaggageEntry | undefined {
  const semicolon = member.indexOf(";", start);
  const end = semicolon < 0 ? member.length : semicolon;
  const encoded = trimmed(member, start, end);
  const value = wireValue.test(encoded) ? decode(encoded) : undefined;
  if (value === undefined) return undefined;
  const properties = semicolon < 0 ? "" : trimmed(member, semicolon + 1, member.length);
  if (properties === "") return { value };
  return wireProperties.test(properties) ? { value, properties } : undefined;
}

function decode(encoded: string): string | undefined {
  if (!encoded.includes("%")) return encoded;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
}

function encode(value: string): string {
  return wireValue.test(value) && !value.includes("%") ? value : encodeURIComponent(value.toWellFormed());
}
