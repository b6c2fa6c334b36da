import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { TransportError } from "../errors.ts";
import { exchangeOf, type HttpExchange } from "./exchange.ts";
import type { Stage, StageMaker } from "./stages.ts";
import { varyWith } from "./vary.ts";

const token = z.string().regex(/^[\w!#$%&'*+.^`|~-]+$/, "expected a name without spaces");

/** `https://app.example.com`, or `https://*.example.com` for all hosts below it. */
const origin = z.string().refine((text) => text === "*" || isOrigin(text) || isBelow(text), {
  error:
    "expected an origin such as https://app.example.com or https://*.example.com, in lower case, without path and without the scheme's own port, or *",
});

/** Settings of the layer `cors`. */
export const corsSettings = {
  cors: z
    .strictObject({
      origins: z.array(origin).default([]).meta({
        description:
          "Origins whose pages may read replies: `https://app.example.com`, `https://*.example.com` for all hosts below, or `*` alone for all. None: no page of another origin may.",
      }),
      credentials: z.boolean().default(false).meta({
        description: "Whether those pages may send cookies and other credentials of the browser; not with `*`.",
      }),
      methods: z
        .array(z.enum(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]))
        .default(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        .meta({ description: "Methods that those pages may use." }),
      headers: z
        .array(token)
        .default([
          "authorization",
          "content-type",
          "x-request-id",
          "traceparent",
          "connect-protocol-version",
          "connect-timeout-ms",
        ])
        .meta({ description: "Headers that those pages may send." }),
      exposedHeaders: z
        .array(token)
        .default(["x-request-id", "retry-after", "www-authenticate"])
        .meta({ description: "Headers of replies that those pages may read." }),
      maxAgeSeconds: z
        .int()
        .min(0)
        .max(86_400)
        .default(600)
        .meta({ description: "How long a browser may remember what a preflight has told it, in seconds." }),
    })
    .refine(({ origins }) => !origins.includes("*") || origins.length === 1, {
      path: ["origins"],
      error: "expected * alone: it means all others too",
    })
    .refine(({ origins, credentials }) => !credentials || !origins.includes("*"), {
      path: ["credentials"],
      error: "expected false with the origin *: any page could read what the browser's user may read",
    })
    .prefault({}),
};

export type CorsSettings = z.infer<typeof corsSettings.cors>;

/** The layer `cors`: answers preflights before any route is looked for, and lets pages of the origins read what they get, errors too. */
export const corsStage: StageMaker = ({ settings: { cors } }) =>
  cors.origins.length === 0 ? undefined : stageOf(cors);

function stageOf(settings: CorsSettings): Stage {
  const isAllowed = originMatcher(settings.origins);
  const isAny = settings.origins.includes("*");
  const preflight = {
    "access-control-allow-methods": settings.methods.join(", "),
    "access-control-allow-headers": settings.headers.join(", "),
    "access-control-max-age": String(settings.maxAgeSeconds),
  };
  const exposed = settings.exposedHeaders.join(", ");
  return (exchange) => {
    const { method, headers } = exchange.request;
    const { origin: from } = headers;
    const isPreflight =
      method === "OPTIONS" && from !== undefined && headers["access-control-request-method"] !== undefined;
    // Also where there is no origin, or a wrong one: a cache must not give that reply to a page that could read another.
    if (!isAny) exchange.setReplyHeader("vary", "origin");
    if (from === undefined) return undefined;
    const allowed = isAny || isAllowed(from);
    if (isPreflight && !allowed) throw refused();
    if (!allowed) return undefined;
    exchange.setReplyHeader("access-control-allow-origin", isAny ? "*" : from);
    if (settings.credentials) exchange.setReplyHeader("access-control-allow-credentials", "true");
    if (isPreflight) return answer(exchange, preflight);
    if (exposed !== "") exchange.setReplyHeader("access-control-expose-headers", exposed);
    return undefined;
  };
}

function answer(exchange: HttpExchange, headers: Readonly<Record<string, string>>): true {
  const { replyHeaders, requestId, response } = exchange;
  response.writeHead(204, { ...replyHeaders, ...headers, "x-request-id": requestId }).end();
  return true;
}

function refused(): TransportError {
  const message = "pages of this origin may not call this server";
  return new TransportError("ERR_ORIGIN_REFUSED", "permission_denied", message);
}

/** Keeps `origin` in Vary where a route has set a value of its own. */
export function keepVary(app: Pick<FastifyInstance, "addHook">, { origins }: CorsSettings): void {
  if (origins.length === 0 || origins.includes("*")) return;
  app.addHook("onSend", (request, reply, _payload, done) => {
    if (exchangeOf(request.raw) !== undefined) reply.header("vary", varyWith(reply.getHeader("vary"), "origin"));
    done();
  });
}

/** Exact ones, and those below a host: what stands in the star's place is one label or several, and nothing else. */
function originMatcher(origins: readonly string[]): (origin: string) => boolean {
  const exact = new Set(origins);
  const below = origins.flatMap((each) => {
    const [scheme = "", rest] = each.split("*", 2);
    return rest === undefined ? [] : [{ scheme, suffix: rest }];
  });
  return (from) => {
    if (exact.has(from)) return !from.includes("*");
    if (from.length > 512) return false;
    return below.some(({ scheme, suffix }) => {
      const labels = from.slice(scheme.length, -suffix.length);
      return from.startsWith(scheme) && from.endsWith(suffix) && /^[a-z\d-]+(?:\.[a-z\d-]+)*$/.test(labels);
    });
  };
}

/** Below one label alone, as `*.com`, there is no one who could answer for all of them. */
function isBelow(text: string): boolean {
  const rest = /^(https?:\/\/)\*\.(.+)$/.exec(text);
  return rest !== null && /^[^.]+\.[^.]|^localhost(?::|$)/.test(rest[2] ?? "") && isOrigin(`${rest[1]}${rest[2]}`);
}

function isOrigin(text: string): boolean {
  return /^https?:\/\/[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text;
}
