import { z } from "zod";
import type { StageMaker } from "./stages.ts";

/** Settings of the layer `security-headers`. */
export const securityHeadersSettings = {
  securityHeaders: z.boolean().default(true).meta({
    description: "Tell browsers not to guess types, frame replies, run what is in them, or say where they come from.",
  }),
  hstsMaxAgeSeconds: z.int().min(0).max(63_072_000).default(15_552_000).meta({
    description:
      "How long browsers are to come by TLS alone, in seconds: sent on connections by TLS, or that a trusted proxy says are, and never for localhost. 0 says nothing.",
  }),
};

/**
 * What suits an API: its replies are data, no page. A route that serves a page sets its own values, which take the place of these.
 * @see https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html
 */
const always: readonly (readonly [name: string, value: string])[] = [
  ["x-content-type-options", "nosniff"],
  ["content-security-policy", "default-src 'none'; frame-ancestors 'none'"],
  ["referrer-policy", "no-referrer"],
];

/** The same for what is answered where no layer has run, as to what is no request. */
export function plainSecurityHeaders(isOn = true): Readonly<Record<string, string>> {
  return Object.freeze(isOn ? Object.fromEntries(always) : {});
}

/** The layer `security-headers`. */
export const securityHeadersStage: StageMaker = ({ settings: { securityHeaders, hstsMaxAgeSeconds } }) => {
  if (!securityHeaders && hstsMaxAgeSeconds === 0) return undefined;
  const headers = { ...plainSecurityHeaders(securityHeaders) };
  const hsts = hstsMaxAgeSeconds === 0 ? undefined : `max-age=${hstsMaxAgeSeconds}`;
  return (exchange) => {
    exchange.setReplyHeaders(headers);
    if (
      hsts !== undefined &&
      exchange.isSecure &&
      !isLocal(exchange.request.headers.host ?? exchange.header(":authority"))
    )
      exchange.setReplyHeader("strict-transport-security", hsts);
    return undefined;
  };
};

/** A browser that has once heard it of localhost reaches no other server there that has no TLS. */
function isLocal(host = ""): boolean {
  return /^(?:[^:]*\.)?localhost(?::\d+)?$/i.test(host);
}
