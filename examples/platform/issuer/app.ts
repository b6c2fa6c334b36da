import { coreModule, createApp, defineModule, provider, token } from "@plinth/kernel";
import { httpModuleIn, httpRoutes, httpServer, httpSettingsIn } from "@plinth/transport";
import type { JWK } from "jose";
import type { AppFactory } from "../platform.ts";
import { reporterModules } from "../reporters.ts";
import { developmentKey, publicKey } from "./keys.ts";

const signingKey = token("issuer.key").of<JWK>();

/** Publishes the key that development tokens are verified with. For development only: it has no log-in of any kind. */
export const createIssuer: AppFactory = ({ environment, config, keyPath }) => {
  const issuerModule = defineModule("issuer", [
    provider({ provides: signingKey, create: () => developmentKey(keyPath) }),
    provider({
      provides: httpRoutes,
      needs: { key: signingKey },
      create:
        ({ key }) =>
        (app) => {
          app.get("/.well-known/jwks.json", async (_request, reply) => {
            reply.header("cache-control", "public, max-age=300");
            return { keys: [publicKey(key)] };
          });
        },
    }),
  ]);
  const { lifecycle } = config;
  const app = createApp({
    name: "issuer",
    modules: [coreModule, httpModuleIn(httpSettingsIn("issuer", issuerPort)), ...reporterModules, issuerModule],
    config: { environment, defaults: { lifecycle } },
  });
  return {
    app,
    addresses: () => [
      { what: "issuer's keys", url: `http://127.0.0.1:${app.get(httpServer).port}/.well-known/jwks.json` },
    ],
  };
};

/** Where the issuer listens unless `PLINTH_ISSUER_PORT` says otherwise. */
export const issuerPort = 8_082;
