import { createPeerTrust, type PeerTrust } from "@plinth/transport";
import type { AddressesConfig, CorsConfig, SecurityHeadersConfig } from "../config/schema-edge.ts";
import { Cors } from "./cors.ts";

export interface EdgeConfig {
  readonly addresses?: AddressesConfig;
  readonly cors?: CorsConfig | undefined;
  readonly securityHeaders?: SecurityHeadersConfig;
}

/** Which clients are let in, and what replies say to browsers: of one route, or of a document where no route is found. */
export interface Edge {
  readonly addresses: AddressRules | undefined;
  readonly cors: Cors | undefined;
  /** Name and value by turns, for replies that have none of the name. */
  readonly security: readonly string[];
}

/** What an exchange's reply says to browsers. */
export interface EdgeReply {
  /** Whether the service's own headers about other origins are taken out. */
  readonly hasCors: boolean;
  readonly cors: readonly string[];
  readonly security: readonly string[];
}

/** @param methods - Of the route; undefined: all. @returns Undefined when there is nothing to do. */
export function toEdge(
  { addresses, cors, securityHeaders }: EdgeConfig,
  methods?: readonly string[],
): Edge | undefined {
  const security = toSecurityHeaders(securityHeaders);
  if (!addresses && !cors && security.length === 0) return undefined;
  return { addresses: toAddressRules(addresses), cors: cors && new Cors(cors, methods), security };
}

/** @param origin - The page's, if the request names one. */
export function toEdgeReply({ cors, security }: Edge, origin: string | undefined): EdgeReply {
  return { hasCors: cors !== undefined, cors: cors?.replyHeaders(origin) ?? [], security };
}

/** Adds to the head of a service's reply, in place. @param headers - Name and value by turns. */
export function addToReply(headers: string[], { hasCors, cors, security }: EdgeReply): void {
  const present = new Set<string>();
  let kept = 0;
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? "";
    const lower = name.toLowerCase();
    if (hasCors && lower.startsWith("access-control-")) continue;
    present.add(lower);
    headers[kept] = name;
    headers[kept + 1] = headers[at + 1] ?? "";
    kept += 2;
  }
  headers.length = kept;
  headers.push(...cors);
  for (let at = 0; at < security.length; at += 2) {
    const name = security[at] ?? "";
    if (!present.has(name)) headers.push(name, security[at + 1] ?? "");
  }
}

/** Lists of addresses. What is denied is so also where it is allowed. */
export class AddressRules {
  readonly #allow: PeerTrust | undefined;
  readonly #deny: PeerTrust | undefined;

  constructor({ allow, deny }: NonNullable<AddressesConfig>) {
    this.#allow = allow && createPeerTrust(allow);
    this.#deny = deny && createPeerTrust(deny);
  }

  admits(address: string): boolean {
    if (this.#deny?.isTrustedPeer(address) === true) return false;
    return this.#allow?.isTrustedPeer(address) ?? true;
  }
}

function toAddressRules(config: AddressesConfig): AddressRules | undefined {
  return config?.allow || config?.deny ? new AddressRules(config) : undefined;
}

function toSecurityHeaders(config: SecurityHeadersConfig): string[] {
  if (config === undefined || config === false) return [];
  const { frameOptions, referrerPolicy, contentSecurityPolicy } = config === true ? defaults : config;
  const policy = contentSecurityPolicy === undefined ? [] : ["content-security-policy", contentSecurityPolicy];
  const usual = ["x-content-type-options", "nosniff", "x-frame-options", frameOptions];
  return [...usual, "referrer-policy", referrerPolicy, ...policy];
}

const defaults = {
  frameOptions: "DENY",
  referrerPolicy: "strict-origin-when-cross-origin",
  contentSecurityPolicy: undefined,
} as const;
