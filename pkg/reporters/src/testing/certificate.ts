import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";

const oids = {
  commonName: "550403",
  basicConstraints: "551d13",
  subjectAltName: "551d11",
  ecdsaWithSha256: "2a8648ce3d040302",
};

/** A certificate for 127.0.0.1, signed by itself and good for an hour, and its key; both as PEM. */
export function selfSigned(): { readonly cert: string; readonly key: string } {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = publicKey.export({ type: "spki", format: "der" });
  const commonName = der(0x13, Buffer.from(`test ${createHash("sha256").update(spki).digest("hex").slice(0, 8)}`));
  const name = sequence(der(0x31, sequence(oid(oids.commonName), commonName)));
  const algorithm = sequence(oid(oids.ecdsaWithSha256));
  const extensions = sequence(
    extension(oids.basicConstraints, sequence(der(0x01, Buffer.from([0xff])))),
    extension(oids.subjectAltName, sequence(der(0x87, Buffer.from([127, 0, 0, 1])))),
  );
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    algorithm,
    name,
    sequence(utcTime(Date.now() - 60_000), utcTime(Date.now() + 3_600_000)),
    name,
    spki,
    der(0xa3, extensions),
  );
  const signature = der(0x03, Buffer.concat([Buffer.from([0]), sign("sha256", body, privateKey)]));
  const base64 = sequence(body, algorithm, signature).toString("base64");
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${base64.replace(/.{64}/g, "$&\n")}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: "pkcs8", format: "pem" }),
  };
}

function extension(id: string, value: Buffer): Buffer {
  return sequence(oid(id), der(0x04, value));
}

function utcTime(ms: number): Buffer {
  return der(0x17, Buffer.from(`${new Date(ms).toISOString().replace(/[-:T]/g, "").slice(2, 14)}Z`));
}

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, "hex"));
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts));
}

/** Tag, length, value. */
function der(tag: number, value: Buffer): Buffer {
  const { length } = value;
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...head]), value]);
}
