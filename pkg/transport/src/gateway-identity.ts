import type { Authenticator, Identity } from "./auth.ts";
import { unauthenticated } from "./auth-gate.ts";
import { createPeerTrust } from "./client-address.ts";
import type { Incoming } from "./incoming.ts";

export interface GatewayIdentityOptions {
  /**
   * Where the gateway calls from: addresses, CIDR ranges, `loopback`, `private`, `unix`. Whoever calls from there may say that it is
   * anybody, so it has no default: name the gateway's own network, not the one that all services share.
   */
  readonly trustedPeers: readonly string[];
}

/**
 * Takes the word of a Plinth gateway for who asks: its headers `plinth-subject`, `plinth-scopes` and `plinth-issuer`. From any other
 * peer they are refused, rather than overlooked: somebody tries to be somebody.
 *
 * @throws RangeError when `trustedPeers` has an entry that is no network.
 * @example provider({ provides: authenticator, create: () => gatewayIdentity({ trustedPeers: ["10.1.0.0/16"] }) })
 */
export function gatewayIdentity({ trustedPeers }: GatewayIdentityOptions): Authenticator {
  const trust = createPeerTrust(trustedPeers);
  return {
    authenticate(request) {
      const subject = request.header("plinth-subject");
      if (subject === undefined) return undefined;
      if (!trust.isTrustedPeer(request.peer)) throw unauthenticated("only the gateway says who calls");
      return identityOf(subject, request);
    },
  };
}

function identityOf(subject: string, request: Incoming): Identity {
  try {
    const scopes = (request.header("plinth-scopes") ?? "").split(" ").filter((scope) => scope !== "");
    const issuer = request.header("plinth-issuer");
    // A second line of the same name is joined by a comma and a space, which the gateway escapes.
    if (subject === "" || subject.includes(", ")) throw new URIError("no subject");
    return {
      subject: decodeURIComponent(subject),
      scopes: scopes.map(decodeURIComponent),
      claims: issuer === undefined ? {} : { iss: decodeURIComponent(issuer) },
    };
  } catch (error) {
    throw unauthenticated("what the gateway says of the caller cannot be read", error);
  }
}
