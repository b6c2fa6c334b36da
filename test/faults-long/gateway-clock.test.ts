// Somebody sets the clock of the gateway's machine, forward and back, while load flows: tokens go by it, and limits do not.
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe } from "node:test";
import { signingKey, tokenOf } from "../../pkg/gateway/src/testing/issuer.ts";
import { faultTest } from "../support/fault-row.ts";
import { startStage } from "../support/gateway-stage.ts";
import { ask } from "../support/http.ts";
import { asRecord } from "../support/json.ts";
import { until } from "../support/until.ts";

const minuteMs = 60_000;
const limit = 20;
/** Less than the clock is set by, so that a limit that went by it would begin anew. */
const windowMs = 4 * minuteMs;
const key = signingKey("own");

describe("the clock of the gateway is set", () => {
  faultTest(
    {
      fault: "33 clock steps, tokens and limits",
      done: "five minutes forward, ten back, five forward, under load with tokens good for half an hour",
      expected: "0 failed; other tokens judged by the clock as it is; a limit that is used up stays so",
    },
    async (witness) => {
      const steps = [5, -10, 5];
      await using stage = await startStage({
        flags: ["--import", join(import.meta.dirname, "../programs/set-clock.ts")],
        document: ({ services, routes }) => ({
          services,
          jwt: { own: { issuer: "test-issuer", audiences: ["test"], jwks: { keys: [key.jwk] } } },
          routes: [
            ...routes.map(({ anonymous, ...route }) =>
              route.name === "orders" ? { ...route, auth: {} } : { ...route, anonymous },
            ),
            {
              name: "limited",
              match: { path: "/limited" },
              service: "users",
              anonymous: true,
              rateLimit: { limit, windowMs, by: "route" },
            },
          ],
        }),
        environment: {
          CLOCK_SCRIPT: steps.map((by) => `step ${by * minuteMs}`).join(),
          PLINTH_GATEWAY_ACCESS_LOG: "false",
        },
      });
      const atS = Math.floor(Date.now() / 1_000);
      // One that was taken already is taken again until it ends: these are new each time.
      const ended = (): string => tokenOf(key, { iat: atS - 1_800, exp: atS + 150, jti: crypto.randomUUID() });
      const early = (): string => tokenOf(key, { iat: atS, exp: atS + 1_800, jti: crypto.randomUUID() });
      const verdict = async (token: string): Promise<string> => {
        const { status, text } = await ask(`${stage.url}/orders`, { token });
        return status === 200 ? "200" : `${status} ${String(asRecord(JSON.parse(text))["reason"])}`;
      };
      const verdicts = async (): Promise<readonly string[]> => [await verdict(ended()), await verdict(early())];
      const spent = async (): Promise<void> => {
        const { status, headers } = await ask(`${stage.url}/limited`);
        const waitS = Number(headers.get("retry-after"));
        assert.equal(status, 429);
        assert.ok(waitS > 0 && waitS <= windowMs / 1_000, `to be asked again in ${waitS} s`);
      };
      await until(async () => (await verdict(early())) === "200", "it serves", minuteMs);
      for (let turn = 0; turn < limit; turn++) assert.equal((await ask(`${stage.url}/limited`)).status, 200);
      const token = tokenOf(key, { iat: atS - 1_800, exp: atS + 1_800 });
      const load = stage.load({ headers: { authorization: `Bearer ${token}` } });
      await stage.more(load, 200);
      const told = [await verdicts()];
      await spent();
      for (const [turn, by] of steps.entries()) {
        stage.gateway.signal("SIGUSR2");
        await until(
          () => stage.gateway.stdout().split(`clock:step ${by * minuteMs}\n`).length > (turn === 2 ? 2 : 1),
          "the clock is set",
          minuteMs,
        );
        told.push(await verdicts());
        await spent();
        await stage.more(load, 400);
      }
      const report = await stage.judge(load, witness);
      witness.saw(told.map((each) => each.join(" and ")).join(", then "));
      assert.deepEqual(told, [
        ["200", "200"],
        ["401 token_expired", "200"],
        ["200", "401 token_invalid"],
        ["200", "200"],
      ]);
      assert.deepEqual(report.failures, {});
    },
  );
});
