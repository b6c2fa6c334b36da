import { ServerCredentials } from "@grpc/grpc-js";
import type { SecureContextOptions } from "node:tls";
import type { TlsSettings } from "../tls/settings.ts";

/** TLS whose certificate can be another one for handshakes to come; connections that are open keep theirs. */
export class SwappableCredentials extends ServerCredentials {
  constructor({ clientCertificate, handshakeTimeoutMs }: TlsSettings, context: SecureContextOptions) {
    const isAsked = clientCertificate !== "off";
    super(
      {
        requestCert: isAsked,
        // for `request` the connection is looked at once it is there
        rejectUnauthorized: clientCertificate === "require",
        handshakeTimeout: handshakeTimeoutMs,
      },
      context,
    );
  }

  replace(context: SecureContextOptions): void {
    this.updateSecureContextOptions(context);
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}
