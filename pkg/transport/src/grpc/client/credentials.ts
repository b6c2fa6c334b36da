import { isIP } from "node:net";
import { type ChannelCredentials, credentials } from "@grpc/grpc-js";
import type { GrpcChannelOptions } from "./options.ts";

/** Whom a channel trusts, and who it is. */
export function credentialsOf({ address, tls }: Pick<GrpcChannelOptions, "address" | "tls">): ChannelCredentials {
  if (tls === undefined) return credentials.createInsecure();
  const { ca, cert, key, serverName } = tls;
  const secure = credentials.createSsl(toBuffer(ca), toBuffer(key), toBuffer(cert));
  return serverName === undefined && isIP(hostOf(address)) !== 0 ? withoutServerName(secure) : secure;
}

/** `host` of `host:port`, `[host]:port` and the like. */
function hostOf(address: string): string {
  return /^(?:ipv[46]:)?(?:\[(.+)\]|([^:]+))(?::\d+)?$/.exec(address)?.slice(1).find(Boolean) ?? "";
}

/**
 * The library asks for an address by name, which RFC 6066, 3 does not allow, and Node refuses. Without a name the certificate is
 * compared with the address itself.
 */
function withoutServerName(secure: ChannelCredentials): ChannelCredentials {
  const create = secure._createSecureConnector.bind(secure);
  secure._createSecureConnector = (...args) => {
    const connector = create(...args);
    const options: unknown = Reflect.get(connector, "connectionOptions");
    if (typeof options === "object" && options !== null) Reflect.set(options, "servername", "");
    return connector;
  };
  return secure;
}

function toBuffer(pem: string | Buffer | undefined): Buffer | null {
  if (pem === undefined) return null;
  return typeof pem === "string" ? Buffer.from(pem) : pem;
}
