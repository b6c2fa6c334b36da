import assert from "node:assert/strict";
import { it } from "node:test";
import { z } from "zod";
import { definePlugin } from "./define.ts";

const place = { name: "p", stage: "auth", order: 0 } as const;

/** Only compiled: what is wrong here would throw. */
function wrong(): void {
  definePlugin({
    ...place,
    config: z.strictObject({ key: z.string(), days: z.int().default(1) }),
    reasons: { key_wrong: { status: 401, detail: "wrong" } },
    create: ({ key, days }, { route }) => ({
      onRequest: (request) => {
        const known: [string, number, string | undefined] = [key, days, route];
        // @ts-expect-error no such reason
        if (known[1] > 9) return request.reject("key_right");
        // @ts-expect-error a reply has a status
        if (known[1] > 8) return request.reply({ body: "x" });
        // @ts-expect-error what the client asked for stays
        request.path = "/other";
        return request.caller === undefined ? request.reject("key_wrong") : undefined;
      },
    }),
  });
  definePlugin({
    ...place,
    // @ts-expect-error an answer is made by the request alone
    create: () => ({ onRequest: () => ({ status: 200 }) }),
  });
  definePlugin({
    ...place,
    // @ts-expect-error a reply does not wait
    create: () => ({ onReply: async () => undefined }),
  });
  definePlugin({
    ...place,
    // @ts-expect-error it may not wait for its own making
    create: async () => ({ onRequest: () => undefined }),
  });
  // @ts-expect-error no such stage
  definePlugin({ ...place, stage: "late", create: () => ({}) });
  // @ts-expect-error the order is said
  definePlugin({ name: "p", stage: "auth", create: () => ({}) });
  // @ts-expect-error there is no such option in the configuration
  definePlugin({ ...place, config: z.strictObject({ key: z.string() }), create: ({ kye }) => ({ close: () => kye }) });
  definePlugin({
    ...place,
    create: (_config, _tools) => ({
      // @ts-expect-error without `reasons` there is none
      onRequest: (request) => request.reject("any"),
    }),
  });
}

it("a plugin that is wrong does not compile", () => assert.equal(typeof wrong, "function"));
