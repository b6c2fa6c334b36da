import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { queryObjects } from "node:v8";
import { FakeClock, until } from "@plinth/kernel/testing";
import { z } from "zod";
import { echo, httpInstance, openRoute, rawClient, type Received, startGateway } from "../testing/kit.ts";
import { definePlugin, type GatewayPlugin, type PluginHooks, type PluginReason, type PluginStage } from "./define.ts";
import { OpenPlugins } from "./open-plugins.ts";

/** A plugin that does what it is told. */
function scripted(
  hooks: PluginHooks<"no">,
  {
    name = "p",
    stage = "auth",
    order = 0,
    timeoutMs,
  }: { name?: string; stage?: PluginStage; order?: number; timeoutMs?: number } = {},
): GatewayPlugin {
  return definePlugin({
    name,
    stage,
    order,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    config: z.object({}),
    reasons: { no: { status: 403, detail: "not today" } },
    create: () => hooks,
  });
}

async function started(plugins: GatewayPlugin[], more: Parameters<typeof startGateway>[0] = {}) {
  const named = Object.fromEntries(plugins.map(({ name }) => [name, true]));
  const instance = await httpInstance(echo);
  const running = await startGateway({ plugins, document: { plugins: named, routes: [openRoute()] }, ...more });
  await running.add(instance);
  return {
    ...running,
    [Symbol.asyncDispose]: async () => {
      await running[Symbol.asyncDispose]();
      await instance.close();
    },
  };
}

describe("a plugin", () => {
  it("is asked in the order of stages and numbers, and sees replies the other way round", async () => {
    const seen: string[] = [];
    const at = (name: string, stage: PluginStage, order: number): GatewayPlugin =>
      scripted(
        {
          onRequest: ({ routeName }) => void seen.push(`${name} ${routeName}`),
          onReply: () => void seen.push(`${name} reply`),
        },
        { name, stage, order },
      );
    const plugins = [at("d", "forward", -5), at("c", "auth", 2), at("b", "auth", 1), at("a", "edge", 9)];
    await using running = await started(plugins);
    assert.equal((await fetch(running.url)).status, 200);
    assert.deepEqual(seen, ["a undefined", "b all", "c all", "d all", "d reply", "c reply", "b reply", "a reply"]);
    assert.deepEqual(
      running.gateway.describe().plugins.map(({ name }) => name),
      ["a", "b", "c", "d"],
    );
  });

  it("changes what the service and the client get, and says what no client can", async () => {
    const plugin = scripted({
      onRequest: (request) => {
        assert.equal(request.header("x-key"), "1, 2");
        assert.equal(request.header("authorization"), undefined);
        request.removeHeader("x-key");
        request.setHeader("x-new", "n");
        request.setHeader("plinth-plugin-p-owner", "ada");
        return undefined;
      },
      onReply: (reply) => {
        reply.setHeader("x-status", `${reply.status}`);
        reply.removeHeader("content-type");
      },
    });
    await using running = await started([plugin]);
    const client = await rawClient(running.gateway.port);
    client.send(
      "GET /a HTTP/1.1\r\nhost: a\r\nx-key: 1\r\nX-Key: 2\r\nplinth-plugin-p-owner: eve\r\nauthorization: Bearer x\r\nconnection: close\r\n\r\n",
    );
    const reply = await client.toEnd();
    assert.match(reply, /^HTTP\/1\.1 200 [^]*x-status: 200/);
    assert.doesNotMatch(reply, /content-type/i);
    const { headers } = JSON.parse(reply.slice(reply.indexOf("\r\n\r\n"))) as Received;
    assert.deepEqual(
      [headers["x-key"], headers["x-new"], headers["plinth-plugin-p-owner"]],
      [undefined, ["n"], ["ada"]],
    );
  });

  for (const name of [
    "plinth-subject",
    "plinth-plugin-other-x",
    "x-forwarded-for",
    "host",
    "content-length",
    "X-Upper",
    "a b",
    "authorization",
  ]) {
    it(`may not set ${name} of a request: 500 without a word of it, reported once`, async () => {
      const plugin = scripted({ onRequest: (request) => (request.setHeader(name, "v"), undefined) });
      await using running = await started([plugin]);
      const reply = await fetch(running.url);
      assert.equal(reply.status, 500);
      assert.doesNotMatch(await reply.text(), /plugin/);
      await until(() => running.reports.length > 0);
      assert.equal(running.reports.length, 1);
      assert.equal(running.reports[0]?.error.code, "ERR_GATEWAY_PLUGIN");
    });
  }

  it("answers in the service's place, with a body or without", async () => {
    const plugin = scripted({
      onRequest: (request) =>
        request.reply(
          request.path === "/none"
            ? { status: 204 }
            : { status: 418, headers: { "content-type": "text/plain" }, body: "tea" },
        ),
    });
    await using running = await started([plugin]);
    const tea = await fetch(running.url);
    assert.deepEqual([tea.status, await tea.text(), tea.headers.get("content-length")], [418, "tea", "3"]);
    const head = await fetch(running.url, { method: "HEAD" });
    assert.deepEqual([head.status, await head.text(), head.headers.get("content-length")], [418, "", "3"]);
    assert.equal((await fetch(`${running.url}/none`)).status, 204);
  });

  it("refuses for a reason of its own, the same in body, log and metric", async () => {
    const plugin = scripted({ onRequest: async (request) => request.reject("no", { "retry-after": "9" }) });
    await using running = await started([plugin]);
    const reply = await fetch(running.url);
    const { reason, code, detail } = (await reply.json()) as Record<string, unknown>;
    assert.deepEqual([reply.status, reason, code, detail], [403, "p.no", "ERR_GATEWAY_P_NO", "not today"]);
    assert.equal(reply.headers.get("retry-after"), "9");
    assert.equal((await running.lastLine()).reason, "p.no");
    const metrics = await running.metrics();
    assert.match(metrics, /gateway_requests_total\{[^}]*reason="p\.no"[^}]*\} 1/);
    assert.match(metrics, /gateway_plugin_calls_total\{plugin="p",hook="onRequest",outcome="rejected"\} 1/);
    assert.equal(running.reports.length, 0);
  });

  const broken: readonly (readonly [what: string, hooks: PluginHooks<"no">])[] = [
    [
      "throws",
      {
        onRequest: () => {
          throw new Error("secret");
        },
      },
    ],
    [
      "rejects its promise",
      {
        onRequest: async () => {
          throw new Error("secret");
        },
      },
    ],
    [
      "throws at the reply",
      {
        onReply: () => {
          throw new Error("secret");
        },
      },
    ],
    ["returns something else", { onRequest: () => JSON.parse('{"status":200}') }],
    ["waits at the reply", { onReply: () => JSON.parse("{}") }],
  ];
  for (const [what, hooks] of broken) {
    it(`that ${what} costs its request a 500, and is reported once by its name`, async () => {
      await using running = await started([scripted(hooks)]);
      const reply = await fetch(running.url);
      assert.equal(reply.status, 500);
      const body = await reply.text();
      assert.match(body, /"reason":"gateway_error"/);
      assert.doesNotMatch(body, /secret/);
      await until(() => running.reports.length > 0);
      assert.equal(running.reports.length, 1);
      assert.match(running.reports[0]?.error.message ?? "", /^plugin p failed/);
      assert.match(await running.metrics(), /gateway_plugin_calls_total\{[^}]*outcome="failed"\} 1/);
    });
  }

  for (const stage of ["edge", "auth", "forward"] as const) {
    it(`that hangs at the stage ${stage} ends in its time, is told so, and what it says later is nobody's`, async () => {
      const clock = new FakeClock();
      let settle: ((value: undefined) => void) | undefined;
      let reasonGiven: unknown;
      const plugin = scripted(
        {
          onRequest: (request) => {
            request.signal.addEventListener("abort", () => (reasonGiven = request.signal.reason));
            return new Promise((resolve) => (settle = resolve));
          },
        },
        { stage, timeoutMs: 700 },
      );
      await using running = await started([plugin], { clock });
      const reply = fetch(running.url);
      const late = await until(() => settle);
      await clock.advance(800);
      assert.equal((await reply).status, 504);
      assert.equal((await running.lastLine()).reason, "deadline_exceeded");
      assert.ok(reasonGiven instanceof Error);
      late(undefined);
      assert.match(await running.metrics(), /gateway_plugin_calls_total\{[^}]*outcome="timeout"\} 1/);
      assert.equal(running.reports.length, 0);
    });
  }

  it("ends with the route's time where that is shorter", async () => {
    const clock = new FakeClock();
    let asked = false;
    const plugin = scripted({ onRequest: () => ((asked = true), new Promise(() => undefined)) });
    const document = { plugins: { p: true }, routes: [openRoute({ timeoutMs: 100 })] };
    await using running = await started([plugin], { clock, document });
    const reply = fetch(running.url);
    await until(() => asked);
    await clock.advance(300);
    assert.equal((await reply).status, 504);
    assert.match(await running.metrics(), /gateway_plugin_calls_total\{[^}]*outcome="timeout"\} 1/);
  });

  it("whose time is up at the same moment as the route's does not break off the reply", async () => {
    const clock = new FakeClock();
    let asked = false;
    const plugin = scripted({ onRequest: () => ((asked = true), new Promise(() => undefined)) }, { timeoutMs: 100 });
    const document = { plugins: { p: true }, routes: [openRoute({ timeoutMs: 100 })] };
    await using running = await started([plugin], { clock, document });
    const client = await rawClient(running.gateway.port);
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\nhalf"); // the reply waits for it to leave
    await until(() => asked);
    await clock.advance(150);
    assert.match(await client.matching(/traceId/), /^HTTP\/1\.1 504 /);
    client.socket.destroy();
  });

  it("that settles when the route's time has answered does not send the request on", async () => {
    const clock = new FakeClock();
    let asked = 0;
    let settle: (() => void) | undefined;
    await using instance = await httpInstance((_request, response) => void (asked++, response.end()));
    const plugin = scripted({
      onRequest: ({ signal }) =>
        new Promise((resolve) => {
          settle = () => resolve(undefined);
          signal.addEventListener("abort", () => resolve(undefined));
        }),
    });
    const document = { plugins: { p: true }, routes: [openRoute({ timeoutMs: 100 })] };
    await using running = await startGateway({ plugins: [plugin], clock, document });
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\nhalf"); // the reply waits for it to leave
    const late = await until(() => settle);
    await clock.advance(200);
    await client.matching(/^HTTP\/1\.1 504 /);
    late();
    await until(() => running.metrics().then((text) => text.includes('outcome="timeout"} 1')));
    assert.equal(asked, 0);
  });

  it("is told when the client leaves", async () => {
    let signal: AbortSignal | undefined;
    const plugin = scripted({ onRequest: (request) => ((signal = request.signal), new Promise(() => undefined)) });
    await using running = await started([plugin]);
    const client = await rawClient(running.gateway.port);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    await until(() => signal);
    client.socket.destroy();
    assert.equal((await running.lastLine()).reason, "client_gone");
    assert.equal(signal?.aborted, true);
    assert.match(await running.metrics(), /gateway_plugin_calls_total\{[^}]*outcome="aborted"\} 1/);
  });

  it("waits without holding up a body that is sent behind it", async () => {
    const plugin = scripted({ onRequest: () => new Promise((resolve) => setImmediate(resolve, undefined)) });
    await using running = await started([plugin]);
    const body = "b".repeat(200_000);
    const reply = (await (await fetch(running.url, { method: "POST", body })).json()) as Received;
    assert.equal(reply.body.length, body.length);
  });
});

describe("the configuration of plugins", () => {
  it("of documents that no request goes by any more is not held", async () => {
    await using running = await started([scripted({})]);
    for (let timeoutMs = 1; timeoutMs <= 20; timeoutMs++)
      await running.gateway.reload({ plugins: { p: true }, routes: [openRoute({ timeoutMs })] });
    assert.ok(queryObjects(OpenPlugins, { format: "count" }) < 10);
  });

  const limited = (log: string[] = []) =>
    definePlugin({
      name: "quota",
      stage: "auth",
      order: 0,
      config: z.strictObject({ perDay: z.int().min(1), owner: z.string().optional() }),
      create: ({ perDay }, { route }) => {
        log.push(`open ${route} ${perDay}`);
        return {
          onRequest: (request) => (request.setHeader("x-quota", `${perDay}`), undefined),
          close: () => void log.push(`close ${route} ${perDay}`),
        };
      },
    });

  it("is the route's before the document's, false is without, and a reload makes anew what has changed alone", async () => {
    const log: string[] = [];
    await using instance = await httpInstance(echo);
    const route = (name: string, plugins?: Record<string, false | { perDay: number }>) =>
      openRoute({ name, match: { path: `/${name}` }, ...(plugins && { plugins }) });
    const routes = [route("a"), route("b", { quota: { perDay: 2 } }), route("c", { quota: false })];
    const running = await startGateway({
      plugins: [limited(log)],
      document: { plugins: { quota: { perDay: 1 } }, routes },
    });
    try {
      await running.add(instance);
      const quota = async (path: string): Promise<string[] | undefined> =>
        ((await (await fetch(running.url + path)).json()) as Received).headers["x-quota"];
      assert.deepEqual([await quota("/a"), await quota("/b"), await quota("/c")], [["1"], ["2"], undefined]);
      assert.deepEqual(log.splice(0), ["open undefined 1", "open b 2"]);
      await running.gateway.reload({
        plugins: { quota: { perDay: 1 } },
        routes: [route("a"), route("b", { quota: { perDay: 3 } }), route("c")],
      });
      assert.deepEqual([await quota("/a"), await quota("/b"), await quota("/c")], [["1"], ["3"], ["1"]]);
      await until(() => log.length === 2);
      assert.deepEqual(log.splice(0), ["open b 3", "close b 2"]);
    } finally {
      await running[Symbol.asyncDispose]();
    }
    assert.deepEqual(log.toSorted(), ["close b 3", "close undefined 1"]);
  });

  const refused = [
    [{ quotas: true }, {}, /plugins\.quotas: unknown plugin; did you mean "quota"\?/],
    [{ quota: { perDay: 0 } }, {}, /plugins\.quota\.perDay: /],
    [{ quota: { perDay: 1, perDays: 2 } }, {}, /plugins\.quota\.perDays: unknown key; did you mean "perDay"\?/],
    [{ quota: true }, {}, /plugins\.quota\.perDay: /],
    [{ quota: false }, {}, /plugins\.quota: is off where it is not named/],
    [{}, { quota: { perDay: "x" } }, /routes\.0\.plugins\.quota\.perDay: /],
    [{}, { door: true }, /routes\.0\.plugins\.door: is asked before a route is looked for/],
  ] as const;
  for (const [plugins, own, message] of refused) {
    it(`is refused as ${JSON.stringify(plugins)} with ${JSON.stringify(own)} at a route, and the old one stays`, async () => {
      const door = scripted({}, { name: "door", stage: "edge" });
      await using running = await startGateway({ plugins: [limited(), door] });
      const next = { plugins: { ...plugins }, routes: [openRoute({ plugins: { ...own } })] };
      await assert.rejects(running.gateway.reload(next), { code: "ERR_GATEWAY_CONFIG", message });
      assert.equal(running.gateway.describe().document.plugins, undefined);
    });
  }

  it("that throws as it is closed is reported, and holds up neither what comes after it nor the end", async () => {
    const named = { plugins: { p: true }, routes: [openRoute()] };
    const plugin = scripted({ close: () => assert.fail("no") });
    await using running = await startGateway({ plugins: [plugin], document: named });
    await running.gateway.reload({ routes: [openRoute()] });
    await until(() => running.reports.length === 1);
    assert.equal(running.reports[0]?.error.code, "ERR_GATEWAY_PLUGIN");
    await running.gateway.reload(named);
    await running.gateway.close();
  });

  it("that a plugin cannot be made of refuses a reload whole, and closes what was made for it", async () => {
    const log: string[] = [];
    const fails = definePlugin({
      name: "fails",
      stage: "forward",
      order: 0,
      create: () => {
        throw new Error("no");
      },
    });
    await using running = await startGateway({ plugins: [limited(log), fails] });
    const next = { plugins: { quota: { perDay: 1 }, fails: true }, routes: [openRoute()] };
    await assert.rejects(running.gateway.reload(next), {
      code: "ERR_GATEWAY_PLUGIN",
      message: /plugin fails could not be made/,
    });
    assert.deepEqual(log, ["open undefined 1", "close undefined 1"]);
  });
});

describe("definePlugin", () => {
  const create = () => ({});
  interface Given {
    readonly name?: string;
    readonly order?: number;
    readonly timeoutMs?: number;
    readonly reasons?: Readonly<Record<string, PluginReason>>;
  }
  const wrong: readonly (readonly [Given, RegExp])[] = [
    [{ name: "Upper" }, /expected a name/],
    [{ order: 0.5 }, /order is 0\.5/],
    [{ order: 1_001 }, /order is 1001/],
    [{ timeoutMs: 0 }, /timeoutMs is 0/],
    [{ reasons: { Bad: { status: 400, detail: "" } } }, /reason "Bad"/],
    [{ reasons: { bad: { status: 200, detail: "" } } }, /status 200/],
  ];
  for (const [given, message] of wrong) {
    it(`throws for ${JSON.stringify(given)}`, () => {
      const define = () => definePlugin({ name: "p", stage: "auth", order: 0, create, ...given });
      assert.throws(define, { code: "ERR_GATEWAY_PLUGIN", message });
    });
  }

  it("has two of one name, or of one place, refused by the gateway", async () => {
    const one = definePlugin({ name: "one", stage: "auth", order: 0, create });
    const two = definePlugin({ name: "two", stage: "auth", order: 0, create });
    await assert.rejects(startGateway({ plugins: [one, one] }), {
      code: "ERR_GATEWAY_PLUGIN",
      message: /two plugins of the name one/,
    });
    await assert.rejects(startGateway({ plugins: [one, two] }), {
      code: "ERR_GATEWAY_PLUGIN",
      message: /one and two have both order 0/,
    });
  });
});
