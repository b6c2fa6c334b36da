import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { type AuthMode, type Authenticator, authModes, type Identity } from "../auth.ts";
import { AuthGate, challengeOf, type CheckedNeed } from "../auth-gate.ts";
import { TransportError } from "../errors.ts";
import type { HttpExchange } from "./exchange.ts";
import type { StageMaker } from "./stages.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Whether callers of this route must say who they are. Default: what the server's setting `auth` says. */
    readonly auth?: AuthMode | undefined;
    /** Scopes of which the caller must have all; makes `auth` be `required`. */
    readonly scopes?: readonly string[] | undefined;
    /** Made of the two when the route is added. */
    readonly checkedNeed?: CheckedNeed | undefined;
  }
  interface FastifyRequest {
    /** Who asks, as the auth layer has found; undefined where nobody was asked, or the caller has not said so. */
    readonly identity: Identity | undefined;
  }
}

/** The setting for routes that say nothing themselves. */
export const authSetting = {
  auth: z.enum(authModes).default("required").meta({
    description:
      "Whether callers must say who they are, on routes and methods that say nothing of it: `required`, `optional` or `none`. Without an authenticator nobody is asked.",
  }),
};

export interface AuthOptions {
  readonly settings: { readonly auth: AuthMode };
  readonly authenticator?: Authenticator | undefined;
}

/** Looks over what each route asks of its callers, when it is added: `ERR_AUTH_NEED` for one that nobody could meet. */
export function checkRouteNeeds(app: Pick<FastifyInstance, "addHook">, options: AuthOptions): void {
  const gate = new AuthGate(options.authenticator, options.settings.auth);
  app.addHook("onRoute", (route) => {
    const checkedNeed = gate.checkNeed(route.config, `the route ${String(route.method)} ${route.url}`);
    route.config = { ...route.config, checkedNeed };
  });
}

/**
 * A handler of the user's own for what no route is there for may serve whatever it likes, as the page of an app: it asks what
 * a route that says nothing asks. `config.auth` among its options says otherwise.
 */
export function guardNotFound(app: object, options: AuthOptions): void {
  const gate = new AuthGate(options.authenticator, options.settings.auth);
  const set: unknown = Reflect.get(app, "setNotFoundHandler");
  if (gate.isOpen || typeof set !== "function") return;
  Reflect.set(app, "setNotFoundHandler", function guarded(this: unknown, ...args: unknown[]): unknown {
    const [given, handler] = typeof args[0] === "function" ? [{}, args[0]] : args;
    const opts = isObject(given) ? given : {};
    const config = "config" in opts && isObject(opts.config) ? opts.config : {};
    const checkedNeed = gate.checkNeed(config, "the handler for what is not found");
    const scope: unknown = Reflect.apply(set, this, [{ ...opts, config: { ...config, checkedNeed } }, handler]);
    return scope;
  });
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** The layer `auth`. It asks nobody on the way to a route that is not there, unless the user answers for it. */
export const authStage: StageMaker = ({ settings, authenticator }) => {
  const gate = new AuthGate(authenticator, settings.auth);
  if (gate.isOpen) return undefined;
  return (exchange) => {
    const need = exchange.reply?.request.routeOptions.config?.checkedNeed;
    if (need === undefined || need.mode === "none") return undefined;
    const { authorization } = exchange.request.headers;
    if (authorization !== undefined && isGivenTwice(exchange)) throw givenTwice();
    try {
      const admitted = gate.admit(exchange, need);
      return admitted?.catch((thrown: unknown) => refuse(exchange, thrown, need));
    } catch (thrown) {
      return refuse(exchange, thrown, need);
    }
  };
};

function refuse(exchange: HttpExchange, thrown: unknown, { scopes }: CheckedNeed): never {
  const hadCredentials = exchange.request.headers.authorization !== undefined;
  const challenge = challengeOf(thrown, scopes, hadCredentials);
  if (challenge !== undefined && !exchange.hasReplyBegun) exchange.setReplyHeader("www-authenticate", challenge);
  throw thrown;
}

/** Node keeps the first one and says nothing: what stood before this server may have looked at the other. */
function isGivenTwice({ request: { rawHeaders } }: HttpExchange): boolean {
  let lines = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at];
    if (name?.length === 13 && name.toLowerCase() === "authorization") lines++;
  }
  return lines > 1;
}

function givenTwice(): TransportError {
  const message = "the authorization header is there twice; send it once";
  return new TransportError("ERR_REQUEST_MALFORMED", "invalid_argument", message);
}
