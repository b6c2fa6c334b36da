import { startGateway } from "../../pkg/gateway/src/testing/kit.ts";
import { openRoute } from "../../pkg/gateway/src/testing/kit.ts";
import type { SigningKey } from "../../pkg/gateway/src/testing/issuer.ts";
import type { Stand } from "./judge.ts";
import type { Origin } from "./origins/origin.ts";
import { startTap } from "./wire.ts";

/** A gateway in front of an origin: `/admin` and `/guarded` need a token, of one of these keys. */
export async function openStand(origin: Origin, keys: readonly SigningKey[] = []): Promise<Stand & AsyncDisposable> {
  const tap = await startTap(origin.port);
  const guarded = { service: "s", auth: {} };
  const running = await startGateway({
    settings: { http2: { cleartext: true } },
    document: {
      jwt: {
        test: {
          issuer: "test-issuer",
          audiences: ["test"],
          algorithms: ["ES256", "RS256", "EdDSA"],
          jwks: { keys: keys.map(({ jwk }) => jwk) },
        },
      },
      routes: [
        openRoute({ name: "open" }),
        openRoute({ name: "small", match: { path: "/small" }, maxBodyBytes: 1_000 }),
        { name: "admin", match: { path: "/admin/**" }, ...guarded },
        { name: "guarded", match: { path: "/guarded/**" }, ...guarded },
        openRoute({ name: "public", match: { path: "/public/**" }, rewrite: { prefix: "/pub" } }),
      ],
    },
  });
  await running.add(tap);
  return {
    running,
    origin,
    tap,
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]();
      await origin[Symbol.asyncDispose]();
      await tap[Symbol.asyncDispose]();
    },
  };
}
