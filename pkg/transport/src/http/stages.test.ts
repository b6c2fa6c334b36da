import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError, currentContext } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import type { Middleware, MiddlewareRequest, RequestOutcome } from "../middleware.ts";
import type { HttpRoutes } from "./server.ts";
import { parseReply, startHttp, type TestHttp } from "../testing/http.ts";

const routes: HttpRoutes = (app) => {
  app.get("/", async () => ({ ok: true }));
  app.get("/fails", async () => Promise.reject(new Error("broken")));
  app.post("/", async () => ({ ok: true }));
};

type Handle = Middleware["handle"];

const passing: Handle = async (_request, next) => void (await next());

/** Where a middleware of the user's can stand: before the router, and behind it. */
const places = [
  { where: "outside of route", place: { before: "route" } },
  { where: "inside of route", place: { after: "auth" } },
] as const;

async function serve(...middlewares: readonly Middleware[]): Promise<TestHttp> {
  return startHttp({ routes, middlewares });
}

async function problemOf(
  response: Response,
): Promise<{ readonly code: string | undefined; readonly type: string | null }> {
  const { code }: { readonly code?: string } = Object(await response.json());
  return { code, type: response.headers.get("content-type") };
}

for (const { where, place } of places) {
  const tenants = (handle: Handle): Middleware => ({ name: "tenants", ...place, handle });

  describe(`a middleware ${where}`, () => {
    it("goes around the request in its log context, and learns how it ended once it is over", async () => {
      const outcomes: RequestOutcome[] = [];
      const ids: unknown[] = [];
      await using http = await serve(
        tenants(async (request, next) => {
          ids.push(currentContext()?.requestId === request.requestId);
          outcomes.push(await next());
          ids.push(currentContext()?.requestId === request.requestId);
        }),
      );
      assert.equal((await http.fetch("/")).status, 200);
      assert.equal((await http.fetch("/fails")).status, 500);
      await until(() => outcomes.length === 2);
      assert.deepEqual(
        outcomes.map(({ error }) => error?.code),
        [undefined, "ERR_INTERNAL"],
      );
      assert.deepEqual(ids, [true, true, true, true]);
      assert.deepEqual(
        (await http.reports()).map(({ error }) => error.message),
        ["broken"],
      );
    });

    it("refuses with an AppError, which is no incident, before the handler runs", async () => {
      await using http = await serve(
        tenants(async () => {
          throw AppError.invalidArgument("ERR_TENANT_MISSING", "send x-tenant");
        }),
      );
      const response = await http.fetch("/");
      assert.equal(response.status, 400);
      assert.match(response.headers.get("x-request-id") ?? "", /^[0-9a-f]{32}$/);
      assert.deepEqual(await problemOf(response), { code: "ERR_TENANT_MISSING", type: "application/problem+json" });
      await until(() => http.lines.withMessage("request").length === 1);
      assert.equal(http.lines.withMessage("request")[0]?.status, 400);
      assert.deepEqual(await http.reports(), []);
    });

    for (const [what, handle] of [
      ["throws what is no AppError", async () => Promise.reject(new Error("secret"))],
      [
        "throws at once, being no async function",
        () => {
          throw new Error("secret");
        },
      ],
      [
        "throws undefined",
        () => {
          const nothing: unknown = undefined;
          throw nothing;
        },
      ],
    ] as const satisfies readonly (readonly [string, Handle])[]) {
      it(`that ${what} is answered with 500 and reported once`, async () => {
        await using http = await serve(tenants(handle));
        const response = await http.fetch("/");
        assert.equal(response.status, 500);
        assert.deepEqual(await problemOf(response), { code: "ERR_INTERNAL", type: "application/problem+json" });
        assert.equal((await http.reports()).length, 1);
      });
    }

    it("that returns without calling next is answered with 500, and named in the report", async () => {
      await using http = await serve(tenants(async () => {}));
      const response = await http.fetch("/");
      assert.equal(response.status, 500);
      assert.equal((await problemOf(response)).code, "ERR_INTERNAL");
      const [report, ...more] = await http.reports();
      assert.deepEqual([report?.error.code, more.length], ["ERR_MIDDLEWARE_NEXT", 0]);
      assert.match(report?.error.message ?? "", /^the middleware tenants returned without calling next; /);
      assert.match(report?.requestId ?? "", /^[0-9a-f]{32}$/);
    });

    it("that calls next twice has the second call reported, and the handler run once", async () => {
      let handled = 0;
      await using http = await startHttp({
        routes: (app) => void app.get("/", async () => ({ handled: ++handled })),
        middlewares: [tenants(async (_request, next) => void (await Promise.all([next(), next()])))],
      });
      assert.deepEqual(await (await http.fetch("/")).json(), { handled: 1 });
      assert.deepEqual(
        (await http.reports()).map(({ error: { code, message } }) => [code, message]),
        [["ERR_MIDDLEWARE_NEXT", "the middleware tenants called next twice; the second call did nothing"]],
      );
    });

    it("that throws after next changes nothing for the caller, and is reported", async () => {
      await using http = await serve(
        tenants(async (_request, next) => {
          await next();
          throw new Error("too late");
        }),
      );
      assert.equal((await http.fetch("/")).status, 200);
      await until(() => http.lines.withMessage("request").length === 1);
      await new Promise(setImmediate);
      assert.deepEqual(
        (await http.reports()).map(({ error }) => error.message),
        ["too late"],
      );
    });

    it("is not gone on from when the deadline has passed while it waited, and what it throws then is no incident of its own", async () => {
      const clock = new FakeClock();
      const [reached, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      let handled = 0;
      await using http = await startHttp({
        clock,
        routes: (app) => void app.get("/", async () => ({ handled: ++handled })),
        middlewares: [
          tenants(async (_request, next) => {
            reached.resolve();
            await gate.promise;
            await next();
            throw new Error("what it waited for has failed");
          }),
        ],
      });
      const reply = http.fetch("/");
      await reached.promise;
      await clock.advance(10_000);
      assert.equal((await reply).status, 504);
      gate.resolve();
      await until(() => http.lines.withMessage("a handler failed after it had been told to stop").length === 1);
      assert.equal(handled, 0);
      const reports = await http.reports();
      assert.deepEqual(
        reports.map(({ error }) => error.code),
        ["ERR_DEADLINE_EXCEEDED"],
      );
    });

    it("sets headers of any reply, also of one that tells of a failure, but not when it is on its way", async () => {
      const codes: unknown[] = [];
      await using http = await serve(
        tenants(async (request, next) => {
          request.setReplyHeader("x-tenant", "a");
          if (request.header("x-refused") === "yes") throw AppError.permissionDenied("ERR_TENANT", "not yours");
          await next();
          try {
            request.setReplyHeader("x-late", "b");
          } catch (error) {
            codes.push(AppError.from(error).code);
          }
        }),
      );
      const replies = [
        await http.fetch("/"),
        await http.fetch("/fails"),
        await http.fetch("/nowhere"),
        await http.fetch("/", { headers: { "x-refused": "yes" } }),
      ];
      assert.deepEqual(
        replies.map(({ status, headers }) => [status, headers.get("x-tenant"), headers.get("x-late")]),
        [
          [200, "a", null],
          [500, "a", null],
          [404, "a", null],
          [403, "a", null],
        ],
      );
      await until(() => codes.length === 3);
      assert.deepEqual(new Set(codes), new Set(["ERR_REPLY_BEGUN"]));
    });

    it("keeps a context that it derives for what is inside of it", async () => {
      let seen: string | undefined;
      const { deriveContext, runInContext } = await import("@plinth/kernel");
      const span = { traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: false };
      await using http = await startHttp({
        routes: (app) =>
          void app.get("/", async () => {
            seen = currentContext()?.span?.spanId;
            return {};
          }),
        middlewares: [
          tenants((_request, next) =>
            runInContext(deriveContext(currentContext(), { span }), async () => void (await next())),
          ),
        ],
      });
      await http.fetch("/");
      assert.equal(seen, span.spanId);
    });

    it("runs for each of many requests at once", async () => {
      let ran = 0;
      await using http = await serve(
        tenants(async (_request, next) => {
          await new Promise(setImmediate);
          ran++;
          await next();
        }),
      );
      const replies = await Promise.all(Array.from({ length: 50 }, () => http.fetch("/")));
      assert.deepEqual([ran, new Set(replies.map(({ status }) => status))], [50, new Set([200])]);
    });
  });
}

describe("the middlewares of a server", () => {
  it("run in their order, those inside of route with its name", async () => {
    const seen: string[] = [];
    const noting =
      (name: string): Handle =>
      async (request, next) => {
        seen.push(`${name} ${request.route}`);
        await next();
        seen.push(`${name} over`);
      };
    await using http = await serve(
      { name: "innermost", handle: noting("innermost") },
      { name: "outermost", before: "recovery", handle: noting("outermost") },
      { name: "middle", after: "route", handle: noting("middle") },
    );
    await http.fetch("/");
    await until(() => seen.length === 6);
    assert.deepEqual(seen.slice(0, 3), ["outermost unmatched", "middle /", "innermost /"]);
  });

  it("are in no log context outside of it", async () => {
    let context: unknown = "none asked";
    await using http = await serve({
      name: "early",
      before: "log-context",
      handle: async (_request, next) => {
        context = currentContext();
        await next();
      },
    });
    assert.equal((await http.fetch("/")).status, 200);
    assert.equal(context, undefined);
  });

  for (const layer of ["metrics", "access-log"] as const) {
    it(`refuse outside of ${layer} without its hearing of it`, async () => {
      await using http = await serve({
        name: "bouncer",
        before: layer,
        handle: async (request, next) => {
          if (request.header("x-refused") !== undefined) throw AppError.permissionDenied("ERR_REFUSED", "go away");
          await next();
        },
      });
      assert.equal((await http.fetch("/", { headers: { "x-refused": "1" } })).status, 403);
      assert.equal((await http.fetch("/")).status, 200);
      await until(() => http.lines.withMessage("request").some(({ status }) => status === 200));
      const { body } = await http.metrics.expose();
      const isCounted = body.includes('status="403"');
      const isLogged = http.lines.withMessage("request").some(({ status }) => status === 403);
      assert.deepEqual([isCounted, isLogged], [layer === "access-log", false]);
    });
  }

  it("outside of overload run for what is then refused, which is counted once", async () => {
    let ran = 0;
    await using http = await startHttp({
      routes,
      loopDelay: { nowMs: () => 5_000, close: () => {} },
      middlewares: [{ name: "early", before: "overload", handle: (request, next) => (ran++, passing(request, next)) }],
    });
    assert.equal((await http.fetch("/")).status, 503);
    assert.equal(ran, 1);
    const { body } = await http.metrics.expose();
    assert.match(
      body,
      /^http_server_request_duration_seconds_count\{method="GET",route="unmatched",status="503"\} 1$/m,
    );
  });

  it("keep the connection of a request without body that they refuse, and close one whose body they have not read", async () => {
    await using http = await serve({
      name: "bouncer",
      before: "route",
      handle: async () => {
        throw AppError.permissionDenied("ERR_REFUSED", "go away");
      },
    });
    const connection = http.connect();
    connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await connection.until("ERR_REFUSED");
    assert.equal(parseReply(connection.received).headers.connection, "keep-alive");
    connection.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    const second = (await connection.ended).split("HTTP/1.1 403").length - 1;
    assert.equal(second, 2);
  });

  it("see the address of the caller, and nobody's identity where no one asks", async () => {
    const seen: Pick<MiddlewareRequest, "clientAddress" | "identity" | "protocol">[] = [];
    await using http = await serve({
      name: "looker",
      handle: async (request, next) => {
        const { clientAddress, identity, protocol } = request;
        seen.push({ clientAddress, identity, protocol });
        await next();
      },
    });
    await http.fetch("/");
    assert.deepEqual(seen, [{ clientAddress: "127.0.0.1", identity: undefined, protocol: "http" }]);
  });

  it("are refused with the server when their order has no answer", async () => {
    await assert.rejects(serve({ name: "lost", after: "nobody", handle: passing }), { code: "ERR_MIDDLEWARE_ORDER" });
  });
});
