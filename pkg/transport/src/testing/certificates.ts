import { createPrivateKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";

/** A certificate made at test time, with its key. */
export interface TestCertificate {
  readonly cert: string;
  readonly key: string;
}

export interface TestCertificateOptions {
  /** Common name, and with `127.0.0.1` what it is for. Default `localhost`. */
  readonly name?: string;
  /** Milliseconds since the Unix epoch. Default: an hour ago. */
  readonly fromMs?: number;
  /** Milliseconds since the Unix epoch. Default: in 30 days. */
  readonly untilMs?: number;
  /** Who signs it; absent: it itself, as an authority. */
  readonly issuer?: TestCertificate & { readonly name: string };
}

/** Makes a certificate of a new P-256 key: X.509 version 3 in DER by hand, since Node only reads them. RFC 5280. */
export function makeCertificate(options: TestCertificateOptions = {}): TestCertificate & { readonly name: string } {
  const nowMs = Date.now();
  const { name = "localhost", fromMs = nowMs - 3_600_000, untilMs = nowMs + 30 * 86_400_000, issuer } = options;
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const signer: KeyObject = issuer ? createPrivateKey(issuer.key) : privateKey;
  const serial = Buffer.from([1, ...crypto.getRandomValues(new Uint8Array(8))]);
  const names = sequence(tagged(0x82, Buffer.from(name)), tagged(0x87, Buffer.from([127, 0, 0, 1])));
  const extensions = sequence(
    extension([0x55, 0x1d, 0x13], issuer ? sequence() : sequence(tagged(0x01, Buffer.from([0xff])))), // basicConstraints
    extension([0x55, 0x1d, 0x11], names), // subjectAltName
  );
  const body = sequence(
    tagged(0xa0, tagged(0x02, Buffer.from([2]))),
    tagged(0x02, serial),
    ecdsaWithSha256,
    nameOf(issuer?.name ?? name),
    sequence(timeOf(fromMs), timeOf(untilMs)),
    nameOf(name),
    publicKey.export({ type: "spki", format: "der" }),
    tagged(0xa3, extensions),
  );
  const signature = Buffer.concat([Buffer.from([0]), sign("sha256", body, signer)]);
  const der = sequence(body, ecdsaWithSha256, tagged(0x03, signature));
  const text = der.toString("base64").match(/.{1,64}/g) ?? [];
  return {
    name,
    cert: `-----BEGIN CERTIFICATE-----\n${text.join("\n")}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: "pkcs8", format: "pem" }),
  };
}

function tagged(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...head]), content]);
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tagged(0x30, Buffer.concat(parts));
}

const ecdsaWithSha256 = sequence(tagged(0x06, Buffer.from([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02])));

/** A relative name with one common name. */
function nameOf(name: string): Buffer {
  const commonName = sequence(tagged(0x06, Buffer.from([0x55, 0x04, 0x03])), tagged(0x0c, Buffer.from(name)));
  return sequence(tagged(0x31, commonName));
}

function timeOf(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replaceAll(/[-:T]|\.\d+/g, "");
  return tagged(0x18, Buffer.from(digits));
}

function extension(id: readonly number[], value: Buffer): Buffer {
  return sequence(tagged(0x06, Buffer.from(id)), tagged(0x04, value));
}
