import type { KeyObject, X509Certificate } from "node:crypto";
import type { SecureContextOptions, SecureVersion } from "node:tls";
import { messageOf, readTextFile } from "@plinth/kernel";
import { TransportError } from "../errors.ts";

/** Where one side of a handshake has what it shows and whom it trusts, in PEM. */
export interface PairFiles {
  /** Its certificate, and the key of that. Absent, both: it shows none. */
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  /** The authorities of the other side. */
  readonly caFile?: string | undefined;
  readonly minVersion?: SecureVersion | undefined;
}

/** A certificate with its key, checked: one side of a handshake can be made of it. */
export interface CertificatePair {
  readonly context: SecureContextOptions;
  /** Its end, in milliseconds since the Unix epoch. `Infinity` where there is none. */
  readonly expiresAtMs: number;
  /** SHA-256, as browsers and openssl show it. */
  readonly fingerprint?: string;
}

/** As much as a chain or a bundle of authorities may have. */
const maxBytes = 1024 * 1024;

/**
 * Reads the files of a listener or a client with TLS and checks all that a handshake would fail at: each is whole and PEM, the key is the
 * certificate's, the certificate is valid now, and the TLS library takes them.
 *
 * @param nowMs - Milliseconds since the Unix epoch.
 * @throws {@link TransportError} `ERR_TLS_FILE` naming a file that cannot be read or is not what it should be;
 * `ERR_TLS_CERTIFICATE` for what is wrong with the certificate in it.
 */
export function readCertificatePair(files: PairFiles, nowMs: number): CertificatePair {
  const { certFile, keyFile, caFile, minVersion } = files;
  const ca = caFile === undefined ? undefined : readPem(caFile, "certificate", "CERTIFICATE");
  if (ca !== undefined && caFile !== undefined) certificatesIn(ca, caFile);
  const trust: SecureContextOptions = { ...(minVersion && { minVersion }), ...(ca !== undefined && { ca }) };
  if (certFile === undefined || keyFile === undefined) {
    check(trust, (problem, cause) => fileFault(caFile ?? "", problem, cause));
    return { context: trust, expiresAtMs: Infinity };
  }
  const cert = readPem(certFile, "certificate", "CERTIFICATE");
  const key = readPem(keyFile, "private key", "PRIVATE KEY");
  const [own] = certificatesIn(cert, certFile);
  if (own === undefined) throw fileFault(certFile, "no certificate is in it");
  if (!own.checkPrivateKey(privateKeyIn(key, keyFile)))
    throw certificateFault(
      certFile,
      `the key in ${keyFile} is of another certificate; write both anew, from one source`,
    );
  const [fromMs, expiresAtMs] = [Date.parse(own.validFrom), Date.parse(own.validTo)];
  if (nowMs >= expiresAtMs) throw certificateFault(certFile, `it has expired at ${isoOf(expiresAtMs)}; renew it`);
  if (nowMs < fromMs)
    throw certificateFault(certFile, `it is valid only from ${isoOf(fromMs)}; look at the machine's clock, or wait`);
  const context: SecureContextOptions = { cert, key, ...trust };
  check(context, (problem, cause) => certificateFault(certFile, problem, cause));
  return { context, expiresAtMs, fingerprint: own.fingerprint256 };
}

function check(context: SecureContextOptions, fault: (problem: string, cause: unknown) => TransportError): void {
  try {
    process.getBuiltinModule("node:tls").createSecureContext(context);
  } catch (cause) {
    throw fault(`the TLS library refuses it: ${messageOf(cause)}`, cause);
  }
}

/** The text of a file that is PEM, whole, and has a block of this kind. */
function readPem(path: string, what: string, kind: string): string {
  let text: string;
  try {
    ({ text } = readTextFile(path, maxBytes));
  } catch (cause) {
    throw fileFault(path, `it cannot be read: ${messageOf(cause)}`, cause);
  }
  const [begins, ends] = ["BEGIN", "END"].map(
    (edge) => text.match(new RegExp(`^-----${edge} [A-Z0-9 ]+-----\\s*$`, "gm")) ?? [],
  );
  if (begins?.length !== ends?.length) throw fileFault(path, "it is half written: a block in it has no end");
  if (begins?.some((line) => line.includes("ENCRYPTED")) || text.includes("Proc-Type: 4,ENCRYPTED"))
    throw fileFault(path, "its key is encrypted; write it without a pass phrase, readable for the service alone");
  if (!begins?.some((line) => line.includes(kind))) throw fileFault(path, `no ${what} in PEM is in it`);
  return text;
}

function certificatesIn(pem: string, path: string): readonly X509Certificate[] {
  const { X509Certificate } = process.getBuiltinModule("node:crypto");
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (cause) {
      throw fileFault(path, `certificate ${index + 1} in it cannot be parsed: ${messageOf(cause)}`, cause);
    }
  });
}

function privateKeyIn(pem: string, path: string): KeyObject {
  try {
    return process.getBuiltinModule("node:crypto").createPrivateKey(pem);
  } catch (cause) {
    throw fileFault(path, `the private key in it cannot be parsed: ${messageOf(cause)}`, cause);
  }
}

function fileFault(path: string, problem: string, cause?: unknown): TransportError {
  const text = `${path} cannot be used for TLS: ${problem}`;
  return new TransportError("ERR_TLS_FILE", "failed_precondition", text, cause === undefined ? {} : { cause });
}

function certificateFault(path: string, problem: string, cause?: unknown): TransportError {
  const text = `the certificate in ${path} cannot be used: ${problem}`;
  return new TransportError("ERR_TLS_CERTIFICATE", "failed_precondition", text, cause === undefined ? {} : { cause });
}

function isoOf(ms: number): string {
  return new Date(ms).toISOString();
}
