import { createPrivateKey, X509Certificate } from "node:crypto";
import { type ConnectionOptions, getCACertificates } from "node:tls";
import { isIP } from "node:net";
import { messageOf, readTextFile } from "@plinth/kernel";
import { DatabaseError } from "../errors.ts";
import type { DatabaseUrl, UrlTlsMode } from "./address.ts";

export interface DatabaseTlsOptions {
  /**
   * `verify-full`: the certificate must be of a trusted authority and for the host's name. `unverified`: encrypted, to whomever.
   * `off`: in the open. Default: the URL's `sslmode`; without one `verify-full`, except for this machine (loopback, Unix
   * socket) where it is `off` unless one of the settings below is given.
   */
  readonly mode?: "verify-full" | "unverified" | "off" | undefined;
  /** Authorities that are trusted instead of Node's own, in PEM; `system` takes the machine's. Default: the URL's `sslrootcert`. */
  readonly caFile?: string | undefined;
  /** Certificate to show to the server, in PEM; with `keyFile`. Default: the URL's `sslcert`. */
  readonly certFile?: string | undefined;
  /** The key of `certFile`, in PEM, without a pass phrase. Default: the URL's `sslkey`. */
  readonly keyFile?: string | undefined;
  /** The name that the server's certificate must have. Default: the host. */
  readonly serverName?: string | undefined;
}

/** As much as a bundle of authorities may have. */
const maxBytes = 1024 * 1024;

interface Files {
  readonly ca?: string | string[];
  readonly cert?: string;
  readonly key?: string;
}

/** TLS to the servers of one URL. Files are read for each new connection; while they are not whole, those read last are used. */
export class Tls {
  readonly #options: DatabaseTlsOptions;
  readonly #mode: UrlTlsMode | undefined;
  readonly #onStale: (error: DatabaseError) => void;
  #last: Files | undefined;
  #isStale = false;

  constructor(url: DatabaseUrl, options: DatabaseTlsOptions, onStale: (error: DatabaseError) => void) {
    const { caFile = url.caFile, certFile = url.certFile, keyFile = url.keyFile, serverName } = options;
    this.#options = { caFile, certFile, keyFile, serverName };
    this.#mode = options.mode ?? url.tlsMode;
    this.#onStale = onStale;
  }

  modeFor(host: string): UrlTlsMode {
    if (host.startsWith("/")) return "off";
    if (this.#mode !== undefined) return this.#mode;
    const isAsked = Object.values(this.#options).some((value) => value !== undefined);
    return isAsked || !isThisMachine(host) ? "verify-full" : "off";
  }

  /** The name to ask for and to find in the certificate. */
  nameFor(host: string): string {
    return this.#options.serverName ?? host;
  }

  /**
   * How to encrypt a connection to `host` that is made now; undefined for one in the open.
   * @throws {@link DatabaseError} `ERR_DATABASE_TLS`, naming the file, while none could be read yet.
   */
  optionsFor(host: string): ConnectionOptions | undefined {
    const mode = this.modeFor(host);
    if (mode === "off") return undefined;
    const files = this.#read();
    const name = this.nameFor(host);
    return {
      ...files,
      minVersion: "TLSv1.2",
      host: name,
      ...(isIP(name) === 0 ? { servername: name } : {}),
      rejectUnauthorized: mode !== "unverified",
      ...(mode === "verify-ca" ? { checkServerIdentity: () => undefined } : {}),
    };
  }

  #read(): Files {
    try {
      this.#last = readFiles(this.#options);
      this.#isStale = false;
    } catch (error) {
      if (!this.#last || !(error instanceof DatabaseError)) throw error;
      if (!this.#isStale) this.#onStale(error);
      this.#isStale = true;
    }
    return this.#last;
  }
}

/** Whether a connection to it stays on this machine. By what is written, not by what a name resolves to. */
export function isThisMachine(host: string): boolean {
  return (
    host.startsWith("/") || host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."))
  );
}

function readFiles({ caFile, certFile, keyFile }: DatabaseTlsOptions): Files {
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw fault("tls.certFile and tls.keyFile belong together, and one of them is missing");
  }
  const ca = caFile === "system" ? getCACertificates("system") : pemOf("caFile", caFile, "CERTIFICATE");
  const cert = pemOf("certFile", certFile, "CERTIFICATE");
  const key = pemOf("keyFile", keyFile, "PRIVATE KEY");
  if (typeof ca === "string") certificateIn("caFile", caFile, ca);
  if (cert !== undefined && key !== undefined && !matches(certificateIn("certFile", certFile, cert), key, keyFile)) {
    throw fault(`the key of tls.keyFile ${keyFile} is of another certificate than tls.certFile ${certFile}`);
  }
  return { ...(ca && { ca }), ...(cert !== undefined && { cert }), ...(key !== undefined && { key }) };
}

function pemOf(setting: string, path: string | undefined, kind: string): string | undefined {
  if (path === undefined) return undefined;
  let text: string;
  try {
    ({ text } = readTextFile(path, maxBytes));
  } catch (cause) {
    throw fault(`the file of tls.${setting}, ${path}, cannot be read: ${messageOf(cause)}`, cause);
  }
  const count = (edge: string): number => text.split(`-----${edge} `).length - 1;
  const isWhole = count("BEGIN") === count("END") && text.includes(`${kind}-----`);
  if (!isWhole) throw fault(`the file of tls.${setting}, ${path}, holds no whole ${kind.toLowerCase()} in PEM`);
  return text;
}

function certificateIn(setting: string, path: string | undefined, pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw fault(`the certificate of tls.${setting}, ${path}, cannot be parsed: ${messageOf(cause)}`, cause);
  }
}

function matches(certificate: X509Certificate, key: string, path: string | undefined): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    throw fault(`the key of tls.keyFile, ${path}, cannot be used: ${messageOf(cause)}`, cause);
  }
}

const untrusted =
  "is of an authority that is not trusted here; give the authority's certificate by tls.caFile (sslrootcert in the URL)";

/** OpenSSL's names of faults, in what they mean for who runs the service. */
const faults: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "has expired; renew it at the server",
  CERT_NOT_YET_VALID: "is not valid yet; look at the clocks of both machines",
  CERT_REVOKED: "was revoked; renew it at the server",
  CERT_SIGNATURE_FAILURE: `is not signed by whom it names, or ${untrusted}`,
  DEPTH_ZERO_SELF_SIGNED_CERT: `is signed by itself, and ${untrusted}`,
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  UNABLE_TO_GET_ISSUER_CERT: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted,
};

/** What a failed handshake is to who runs the service; undefined when it failed at something else than TLS. */
export function toTlsError(thrown: unknown, server: string): DatabaseError | undefined {
  if (!(thrown instanceof Error)) return undefined;
  const code = "code" in thrown ? String(thrown.code) : "";
  const known = Object.hasOwn(faults, code) ? faults[code] : undefined;
  if (known !== undefined) return fault(`the certificate of ${server} ${known}`, thrown);
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    const reason = "reason" in thrown ? String(thrown.reason) : "";
    return fault(
      `the certificate of ${server} is for another name (${reason.slice(0, 300)}); connect by a name it has, or give that one as tls.serverName`,
      thrown,
    );
  }
  if (thrown.message.includes("establishing an SSL connection")) {
    // an error in place of a yes or no: before it knows who asks, a server says no more
    const says =
      "the database refused the connection before TLS began: it has no room for another, or is no PostgreSQL";
    return new DatabaseError("ERR_DATABASE_UNAVAILABLE", "unavailable", says, { cause: thrown });
  }
  if (thrown.message.includes("does not support SSL")) {
    const advice =
      "turn ssl on there, or set tls.mode to off (sslmode=disable in the URL) where the network is trusted";
    return fault(`the server at ${server} does not take TLS; ${advice}`, thrown);
  }
  if (/ALERT/.test(code)) {
    const advice = "look at tls.certFile and tls.keyFile, and at what the server's log says";
    return fault(`the server at ${server} ended the TLS handshake (${code}); ${advice}`, thrown);
  }
  if (/^(?:ERR_SSL_|ERR_TLS_|CERT_|CRL_|EPROTO|INVALID_|HOSTNAME_|PATH_LENGTH)/.test(code)) {
    return fault(`TLS with ${server} failed (${code})`, thrown);
  }
  return undefined;
}

function fault(problem: string, cause?: unknown): DatabaseError {
  return new DatabaseError("ERR_DATABASE_TLS", "internal", problem, { cause });
}
