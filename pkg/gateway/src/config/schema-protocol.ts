import { z } from "zod";

export const protocolSchema = z.enum(["http1", "http2"]).optional().meta({
  description:
    "What its instances speak: `http2` with prior knowledge, or as agreed over `tls`. gRPC needs it. Instances are called at their registered port `grpc` then, or at `http` where they have no such port. Default: `http1`.",
});

/** What a route says of where its requests go. */
export interface ProtocolUse {
  readonly service: string;
  readonly backends?: readonly { readonly service?: string | undefined }[] | undefined;
  readonly websocket?: unknown;
}

/**
 * What is wrong with a route to services that speak HTTP/2; undefined when nothing is.
 * @param services - Of the document, unchecked.
 */
export function protocolProblem(
  { service, backends = [], websocket }: ProtocolUse,
  services: unknown,
): string | undefined {
  if (!websocket) return undefined;
  const names = [service, ...backends.flatMap(({ service: own }) => (own === undefined ? [] : [own]))];
  const name = names.find((each) => fieldOf(fieldOf(services, each), "protocol") === "http2");
  return name === undefined ? undefined : `service ${name} has \`protocol: http2\`, over which no WebSocket is opened`;
}

function fieldOf(object: unknown, key: string): unknown {
  return typeof object === "object" && object !== null ? Reflect.get(object, key) : undefined;
}
