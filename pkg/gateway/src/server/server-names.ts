import { X509Certificate } from "node:crypto";
import type { SecureContext, SecureContextOptions } from "node:tls";

interface Entry {
  certificate: X509Certificate;
  context: SecureContext;
}

/** The certificates of a listener, by the names that clients ask for. */
export class ServerNames {
  readonly #entries: Entry[] = [];

  /**
   * Puts a certificate at its place, for handshakes from now on.
   * @param context - Checked before, with its certificate first in `cert`.
   */
  set(index: number, context: SecureContextOptions): void {
    const made = process.getBuiltinModule("node:tls").createSecureContext(context);
    this.#entries[index] = { certificate: new X509Certificate(String(context.cert)), context: made };
  }

  /** An exact name before a wildcard, the first of several; undefined where none has it. */
  find(name: string): SecureContext | undefined {
    const exact = this.#entries.find(({ certificate }) => certificate.checkHost(name, { wildcards: false }));
    return (exact ?? this.#entries.find(({ certificate }) => certificate.checkHost(name)))?.context;
  }
}
