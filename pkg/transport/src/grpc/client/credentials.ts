import { isIP } from "node:net";
import { createSecureContext } from "node:tls";
import { type ChannelCredentials, credentials } from "@grpc/grpc-js";
import { clientContextOf } from "../../tls/client.ts";
import type { GrpcChannelOptions } from "./options.ts";

/** Whom a channel trusts, and who it is; what its files hold later is for new connections. */
export interface SwappingCredentials {
  readonly credentials: ChannelCredentials;
  /** Ends the watch of the files. Safe to call twice. */
  close(): void;
}

type CredentialsOptions = Pick<GrpcChannelOptions, "peer" | "tls" | "clock" | "log" | "metrics"> & {
  readonly address: string;
};

export function credentialsOf({ address, tls, ...options }: CredentialsOptions): SwappingCredentials {
  if (tls === undefined) return { credentials: credentials.createInsecure(), close() {} };
  const context = clientContextOf({ ...options, tls, onChange: () => (secure = createSecureContext(context.secure)) });
  let secure = createSecureContext(context.secure);
  const made = credentials.createFromSecureContext(secure);
  const isUnnamed = tls.serverName === undefined && isIP(hostOf(address)) !== 0;
  beforeConnecting(made, (connection) => {
    Reflect.set(connection, "secureContext", secure);
    // The library asks for an address by name, which RFC 6066, 3 does not allow, and Node refuses. Without a name the certificate is
    // compared with the address itself.
    if (isUnnamed) Reflect.set(connection, "servername", "");
  });
  return { credentials: made, close: () => context.close() };
}

/** `host` of `host:port`, `[host]:port` and the like. */
function hostOf(address: string): string {
  return /^(?:ipv[46]:)?(?:\[(.+)\]|([^:]+))(?::\d+)?$/.exec(address)?.slice(1).find(Boolean) ?? "";
}

/** Lets `change` have what each connection is made with: the library keeps it for all that one address is ever given. */
function beforeConnecting(secure: ChannelCredentials, change: (connection: object) => void): void {
  const create = secure._createSecureConnector.bind(secure);
  secure._createSecureConnector = (...args) => {
    const connector = create(...args);
    const options: unknown = Reflect.get(connector, "connectionOptions");
    if (typeof options !== "object" || options === null) throw new TypeError("grpc-js has no connectionOptions");
    const connect = connector.connect.bind(connector);
    connector.connect = (socket) => {
      change(options);
      return connect(socket);
    };
    return connector;
  };
}
