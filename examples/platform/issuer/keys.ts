import { link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { messageOf, z } from "@plinth/kernel";
import { exportJWK, generateKeyPair, importJWK, type JWK, SignJWT } from "jose";

/** Who issues the development tokens, for whom, and with what. */
export const issuer = { name: "plinth-dev", audience: "plinth", algorithm: "ES256", lifetimeSeconds: 3_600 } as const;

/**
 * The key that signs development tokens: made at first use and kept in `path`, readable by its owner alone,
 * so that tokens outlive a restart and `npm run token` needs no running platform.
 */
export async function developmentKey(path: string): Promise<JWK> {
  const kept = await readKey(path);
  if (kept) return kept;
  const { privateKey } = await generateKeyPair(issuer.algorithm, { extractable: true });
  const key: JWK = {
    ...(await exportJWK(privateKey)),
    kid: `dev-${Date.now().toString(36)}`,
    alg: issuer.algorithm,
    use: "sig",
  };
  await mkdir(dirname(path), { recursive: true });
  const draft = `${path}.${process.pid}`;
  await writeFile(draft, JSON.stringify(key), { mode: 0o600 });
  try {
    await link(draft, path); // whole or not at all; of two at once the first one wins, and both use its key
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  } finally {
    await rm(draft, { force: true });
  }
  return (await readKey(path)) ?? key;
}

const keyFile = z.object({
  kty: z.literal("EC"),
  crv: z.literal("P-256"),
  x: z.string(),
  y: z.string(),
  d: z.string(),
  kid: z.string(),
  alg: z.literal(issuer.algorithm),
  use: z.literal("sig"),
});

/** Undefined when there is none yet. */
async function readKey(path: string): Promise<JWK | undefined> {
  try {
    return keyFile.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw new Error(`the development key ${path} cannot be read: ${messageOf(error)}; delete it to get a new one`, {
      cause: error,
    });
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

/** The part of the key that verifies: what the JWKS publishes. */
export function publicKey({ kty, crv, x, y, kid, alg, use }: JWK): JWK {
  return Object.fromEntries(
    Object.entries({ kty, crv, x, y, kid, alg, use }).filter(([, value]) => value !== undefined),
  );
}

/** An access token for `subject`, valid for an hour. */
export async function signToken(
  key: JWK,
  { subject, scope }: { readonly subject: string; readonly scope: string },
): Promise<string> {
  return new SignJWT({ scope })
    .setProtectedHeader({ alg: issuer.algorithm, typ: "at+jwt", ...(key.kid === undefined ? {} : { kid: key.kid }) })
    .setIssuer(issuer.name)
    .setAudience(issuer.audience)
    .setSubject(subject)
    .setIssuedAt()
    .setExpirationTime(`${issuer.lifetimeSeconds}s`)
    .setJti(crypto.randomUUID())
    .sign(await importJWK(key, issuer.algorithm));
}
