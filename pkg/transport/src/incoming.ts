import type { PeerCertificate } from "node:tls";
import type { Identity } from "./auth.ts";
import { defineModule, requestInput, token } from "@plinth/kernel";

/** The request being served, whichever wire it came over: for what lives as long as the request. */
export interface Incoming {
  readonly protocol: "http" | "grpc";
  /** Route template or RPC method. */
  readonly route: string;
  readonly requestId: string;
  /** When the answer is due, in milliseconds of the monotonic clock. */
  readonly deadlineAtMs: number;
  /** Aborts when the caller has gone or the deadline has passed. */
  readonly signal: AbortSignal;
  /** The connection's other end, be it a proxy: an address without port, `unix` on a Unix socket, or `unknown` when it has gone. */
  readonly peer: string;
  /** Address of the caller, as trusted proxies tell it; else that of the peer. */
  readonly clientAddress: string;
  /** The certificate that the peer has shown on a connection with TLS; absent where it was not asked for one, or showed none that is trusted. */
  readonly peerCertificate?: PeerCertificate | undefined;
  /** Who asks, once the auth layer has found out; undefined for a caller that has not said so. */
  readonly identity: Identity | undefined;
  /**
   * A header or, over gRPC, an entry of the metadata; several of one name are joined by `, `.
   * @param name - In lower case.
   */
  header(name: string): string | undefined;
}

/**
 * What the caller sent, for providers that live as long as the request.
 *
 * @example
 * provider({ provides: currentUser, needs: { incoming }, create: ({ incoming }) => userOf(incoming.header("authorization")) })
 */
export const incoming = token("transport.incoming").perRequest<Incoming>();

/** Part of the HTTP and gRPC modules. An app without a server, such as a job runner, adds it to give the value itself. */
export const incomingModule = defineModule("transport", [requestInput(incoming)]);
