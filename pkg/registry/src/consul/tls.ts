import { X509Certificate } from "node:crypto";
import { readdirSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import { checkServerIdentity, createSecureContext, type SecureContext } from "node:tls";
import { type Clock, messageOf, OptionError, readTextFile } from "@plinth/kernel";
import { RegistryError } from "../errors.ts";
import type { ConsulTlsOptions } from "./connection.ts";

const maxFileBytes = 1024 * 1024;
const maxAuthorityFiles = 500;
/** Watches that connect again all at once share what was read. */
const freshForMs = 1_000;

/** What of a connection is TLS. */
export interface SecureOptions {
  readonly secureContext: SecureContext;
  readonly rejectUnauthorized: boolean;
  readonly servername?: string;
  readonly checkServerIdentity?: typeof checkServerIdentity;
}

/** TLS to an agent. Files are read for new connections; while they are not whole, those read last are used. */
export class ConsulTls {
  readonly #options: ConsulTlsOptions;
  readonly #clock: Clock;
  #last: SecureContext | undefined;
  #readAtMs = -Infinity;

  /** @throws {@link OptionError} `ERR_OPTION_RANGE` */
  constructor(options: ConsulTlsOptions, clock: Clock) {
    if ((options.certFile === undefined) !== (options.keyFile === undefined)) {
      throw new OptionError(
        "ERR_OPTION_RANGE",
        "invalid_argument",
        "tls.certFile and tls.keyFile belong together, and one of them is missing",
      );
    }
    this.#options = options;
    this.#clock = clock;
  }

  /**
   * For a connection that is made now.
   * @throws {@link RegistryError} `ERR_REGISTRY_TLS`, naming the file, when they could never be read.
   */
  now(): SecureOptions {
    const { serverName, verify = true } = this.#options;
    return {
      secureContext: this.#context(),
      rejectUnauthorized: verify,
      ...(serverName === undefined
        ? {}
        : {
            ...(isIP(serverName) === 0 ? { servername: serverName } : {}),
            checkServerIdentity: (_host, certificate) => checkServerIdentity(serverName, certificate),
          }),
    };
  }

  #context(): SecureContext {
    const nowMs = this.#clock.monotonicMs();
    if (this.#last !== undefined && nowMs - this.#readAtMs < freshForMs) return this.#last;
    try {
      this.#last = readContext(this.#options);
    } catch (error) {
      if (this.#last === undefined) throw error;
    }
    this.#readAtMs = nowMs;
    return this.#last;
  }
}

function readContext({ caFile, caPath, certFile, keyFile }: ConsulTlsOptions): SecureContext {
  const ca = [
    ...(caFile === undefined ? [] : [authorityIn("caFile", caFile)]),
    ...(caPath === undefined ? [] : authoritiesUnder(caPath)),
  ];
  const cert = certFile === undefined ? undefined : textOf("certFile", certFile);
  const key = keyFile === undefined ? undefined : textOf("keyFile", keyFile);
  try {
    return createSecureContext({
      minVersion: "TLSv1.2",
      ...(ca.length === 0 ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    });
  } catch (cause) {
    throw fault(
      `tls.certFile ${certFile} and tls.keyFile ${keyFile} cannot be used together: ${messageOf(cause)}`,
      cause,
    );
  }
}

/** What lies in the folder, but not beneath it: a mounted secret has its earlier versions there. */
function authoritiesUnder(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder, { withFileTypes: true })
      .filter((entry) => !entry.isDirectory() && !entry.name.startsWith("."))
      .map(({ name }) => name)
      .toSorted();
  } catch (cause) {
    throw fault(`the folder of tls.caPath, ${folder}, cannot be read: ${messageOf(cause)}`, cause);
  }
  if (names.length === 0) throw fault(`the folder of tls.caPath, ${folder}, holds no file`);
  if (names.length > maxAuthorityFiles) {
    throw fault(
      `the folder of tls.caPath, ${folder}, holds ${names.length} files, at most ${maxAuthorityFiles} are read`,
    );
  }
  return names.map((name) => authorityIn("caPath", join(folder, name)));
}

function authorityIn(option: string, path: string): string {
  const text = textOf(option, path);
  try {
    void new X509Certificate(text); // a context takes what is none in silence
  } catch (cause) {
    throw fault(`the file of tls.${option}, ${path}, holds no certificate in PEM: ${messageOf(cause)}`, cause);
  }
  return text;
}

function textOf(option: string, path: string): string {
  try {
    return readTextFile(path, maxFileBytes).text;
  } catch (cause) {
    throw fault(`the file of tls.${option}, ${path}, cannot be read: ${messageOf(cause)}`, cause);
  }
}

const untrusted =
  "is of an authority that is not trusted here; give the authority's certificate by tls.caFile or tls.caPath";

/** OpenSSL's names of faults, in what they mean for who runs the service. */
const faults: ReadonlyMap<string, string> = new Map([
  ["CERT_HAS_EXPIRED", "has expired; renew it at the agent"],
  ["CERT_NOT_YET_VALID", "is not valid yet; look at the clocks of both machines"],
  ["CERT_SIGNATURE_FAILURE", `is not signed by whom it names, or ${untrusted}`],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", `is signed by itself, and ${untrusted}`],
  ["SELF_SIGNED_CERT_IN_CHAIN", untrusted],
  ["UNABLE_TO_GET_ISSUER_CERT", untrusted],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", untrusted],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", untrusted],
]);

/** What a failed handshake is to who runs the service; undefined when it failed at something else than TLS. */
export function toTlsError(thrown: unknown, agent: string): RegistryError | undefined {
  if (!(thrown instanceof Error)) return undefined;
  const code = "code" in thrown ? String(thrown.code) : "";
  const known = faults.get(code);
  if (known !== undefined) return fault(`the certificate of ${agent} ${known}`, thrown);
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    const reason = "reason" in thrown ? String(thrown.reason) : "";
    return fault(
      `the certificate of ${agent} is for another name (${reason.slice(0, 300)}); connect by a name it has, or give that one as tls.serverName`,
      thrown,
    );
  }
  if (/ALERT/.test(code)) {
    const advice = "does it ask for a certificate (tls.certFile, tls.keyFile), and trust its authority?";
    return fault(`${agent} ended the TLS handshake (${code}); ${advice}`, thrown);
  }
  if (/WRONG_VERSION|PACKET_LENGTH|UNSUPPORTED_PROTOCOL/.test(code)) {
    return fault(
      `${agent} does not speak TLS (${code}); write the address as http://, or name the agent's https port`,
      thrown,
    );
  }
  if (/^(?:ERR_SSL_|ERR_TLS_|CERT_|CRL_|EPROTO)/.test(code)) return fault(`TLS with ${agent} failed (${code})`, thrown);
  return undefined;
}

function fault(message: string, cause?: unknown): RegistryError {
  return new RegistryError("ERR_REGISTRY_TLS", "failed_precondition", message, { cause });
}
