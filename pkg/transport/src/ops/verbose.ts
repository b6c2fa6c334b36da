import type { IncomingMessage } from "node:http";
import type { Secret } from "@plinth/kernel";
import { unauthenticated } from "../auth-gate.ts";
import { TransportError } from "../errors.ts";

/**
 * Whether the caller asks for details by `?verbose`, and may have them: with `Authorization: Bearer` and the ops token, or from
 * this machine itself. A proxy on this machine speaks for others, so a request that was forwarded is none of the latter; nor is one
 * for a host of another name, which a page in a browser here may have given a loopback address.
 *
 * @throws {@link TransportError} `ERR_REQUEST_REFUSED` when it asks and may not.
 */
export function asksForDetails({ url = "", headers, socket }: IncomingMessage, token?: Secret): boolean {
  const query = url.indexOf("?");
  const verbose = query < 0 ? null : new URLSearchParams(url.slice(query)).get("verbose");
  if (verbose === null || verbose === "0" || verbose === "false") return false;
  if (isTrusted({ headers, socket }, token)) return true;
  throw new TransportError(
    "ERR_REQUEST_REFUSED",
    "permission_denied",
    "details are for callers on this machine, asking localhost or 127.0.0.1 without a proxy, and for those with the ops token (authorization: Bearer …); ask without ?verbose",
  );
}

/** Has the ops token, or asks from this machine, itself and not through a proxy. */
function isTrusted(
  { headers, socket }: Pick<IncomingMessage, "headers" | "socket">,
  token: Secret | undefined,
): boolean {
  if (token && isBearer(headers.authorization, token)) return true;
  const isForwarded = Object.keys(headers).some((name) => forwarding.test(name));
  return isLoopback(socket.remoteAddress) && loopbackHost.test(headers.host ?? "") && !isForwarded;
}

/** Who may have what modules tell of themselves. */
export interface OpsGuard {
  readonly token: Secret | undefined;
  /** The listener is bound to a loopback address: nobody but this machine gets to it, and its callers need no token. */
  readonly isLocal: boolean;
}

/**
 * Lets those through who have the ops token; callers on this machine too, as long as the listener is for them alone.
 * @throws {@link TransportError} `ERR_UNAUTHENTICATED` for all others.
 */
export function requireOperator(
  request: Pick<IncomingMessage, "headers" | "socket">,
  { token, isLocal }: OpsGuard,
): void {
  const isKnown = isLocal ? isTrusted(request, token) : token && isBearer(request.headers.authorization, token);
  if (isKnown === true) return;
  throw unauthenticated(
    "this is for those with the ops token (authorization: Bearer …), and where the ops listener is bound to a loopback address for callers on this machine; set PLINTH_OPS_TOKEN",
  );
}

/** Whether a listener of this address can be reached from its own machine alone. */
export function isLoopbackName(host: string): boolean {
  return host === "localhost" || isLoopback(host);
}

/** What proxies add to what they forward. */
const forwarding =
  /^(?:forwarded|via|x-forwarded(?:-.*)?|x-real-ip|x-client-ip|x-cluster-client-ip|true-client-ip|cf-connecting-ip)$/;

const loopbackHost = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i;

function isLoopback(address: string | undefined): boolean {
  return address === "::1" || /^(?:::ffff:)?127\./.test(address ?? "");
}

/** Compares digests, whose lengths are equal, in a time that tells nothing of how much is right. */
function isBearer(authorization: string | undefined, token: Secret): boolean {
  const given = /^bearer +(.+)$/i.exec(authorization ?? "")?.[1];
  if (given === undefined) return false;
  const { createHash, timingSafeEqual } = process.getBuiltinModule("node:crypto");
  const [own, theirs] = [token.reveal(), given].map((text) => createHash("sha256").update(text).digest());
  return own !== undefined && theirs !== undefined && timingSafeEqual(own, theirs);
}
