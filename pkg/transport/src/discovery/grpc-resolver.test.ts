import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { describe, it } from "node:test";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { currentContext } from "@plinth/kernel";
import { FakeClock, freePort, until } from "@plinth/kernel/testing";
import { createMemoryRegistry, type NewInstance, type Registration, type Registry } from "@plinth/registry";
import { TransportError } from "../errors.ts";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { createGrpcChannel, type GrpcChannelOptions } from "../grpc/client/channel.ts";
import { createRpcClient, type RpcClient } from "../rpc/client/client.ts";
import type { RpcCall } from "../rpc/service.ts";
import { startGrpc } from "../testing/grpc.ts";
import { registerPlinthResolver } from "./resolver.ts";

type EchoClient = RpcClient<typeof EchoService>;

interface Instance extends AsyncDisposable {
  readonly registration: Registration;
  readonly port: number;
  readonly hits: number;
  /** Ends its server; its entry stays. */
  kill(): Promise<void>;
}

/** A gRPC server of ours that says its id, registered as `echo`. */
async function startEcho(
  registry: Registry,
  id: string,
  more: Partial<NewInstance> = {},
  during: (call: RpcCall) => Promise<void> | void = () => {},
): Promise<Instance> {
  let hits = 0;
  const { server } = await startGrpc({
    handlers: {
      say: async (_request, call) => {
        hits++;
        await during(call);
        return { text: id };
      },
    },
  });
  const registration = await registry.register({
    service: "echo",
    id,
    host: "127.0.0.1",
    ports: { grpc: server.port },
    ...more,
  });
  return {
    registration,
    port: server.port,
    kill: () => server.close(),
    get hits() {
      return hits;
    },
    async [Symbol.asyncDispose]() {
      await registration.deregister();
      await server.close();
    },
  };
}

/** Passes connections on to a port, and counts them. */
async function startRelay(
  port: number,
): Promise<AsyncDisposable & { readonly port: number; readonly made: number; readonly open: number }> {
  const sockets = new Set<Socket>();
  let made = 0;
  const server = createServer((near) => {
    made++;
    const far = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
    sockets.add(near);
    near.on("close", () => sockets.delete(near));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    get made() {
      return made;
    },
    get open() {
      return sockets.size;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

interface Caller extends AsyncDisposable {
  readonly client: EchoClient;
  /** Who answered, or the code of what the call failed with. */
  who(): Promise<string>;
}

async function caller(options: Omit<GrpcChannelOptions, "peer">): Promise<Caller> {
  const channel = await createGrpcChannel({ peer: "echo", minReconnectMs: 20, maxReconnectMs: 50, ...options });
  const client = createRpcClient(EchoService, { channel });
  return {
    client,
    who: async () => {
      try {
        return (await client.say({ text: "?" }, { timeoutMs: 30_000 })).text;
      } catch (error) {
        return error instanceof Error && "code" in error ? String(error.code) : String(error);
      }
    },
    [Symbol.asyncDispose]: () => channel.close(),
  };
}

async function times(count: number, { who }: Caller): Promise<string[]> {
  const all: string[] = [];
  for (let at = 0; at < count; at++) all.push(await who());
  return all;
}

describe("a gRPC channel on a registry", () => {
  it("calls the instances of the service, and follows them as they come and go", async () => {
    await using registry = disposable();
    await using echo = await caller({ registry });
    assert.equal(await echo.who(), "ERR_NO_INSTANCE", "at once, not when the time is up");
    await using a = await startEcho(registry, "a");
    await until(async () => (await echo.who()) === "a");
    await using b = await startEcho(registry, "b");
    await until(async () => (await echo.who()) === "b");
    await a.registration.deregister();
    await until(async () => new Set(await times(8, echo)).size === 1);
    assert.equal(await echo.who(), "b");
    await b.registration.deregister();
    await until(async () => (await echo.who()) === "ERR_NO_INSTANCE");
    await using c = await startEcho(registry, "c");
    await until(async () => (await echo.who()) === "c");
    assert.ok(c.hits > 0);
  });

  it("says in words that there is no instance, and that nothing was sent", async () => {
    await using registry = disposable();
    await registry.register({ service: "echo", id: "h", host: "127.0.0.1", ports: { http: 1 } });
    await using echo = await caller({ registry });
    await assert.rejects(echo.client.say({ text: "?" }), {
      code: "ERR_NO_INSTANCE",
      status: "unavailable",
      message: "the registry knows no instance of echo that speaks grpc",
      isUnsent: true,
    });
  });

  it("keeps two registries of one process apart", async () => {
    await using one = disposable();
    await using two = disposable();
    await using _a = await startEcho(one, "a");
    await using _b = await startEcho(two, "b");
    await using ofOne = await caller({ registry: one });
    await using ofTwo = await caller({ registry: two });
    assert.deepEqual(await times(4, ofOne), ["a", "a", "a", "a"]);
    assert.deepEqual(await times(4, ofTwo), ["b", "b", "b", "b"]);
  });

  it("gives each instance its share by weight", async () => {
    await using registry = disposable();
    await using heavy = await startEcho(registry, "heavy", { weight: 6 });
    await using light = await startEcho(registry, "light", { weight: 1 });
    await using echo = await caller({ registry });
    await until(async () => (await echo.who()) !== "" && heavy.hits > 0 && light.hits > 0);
    const before = [heavy.hits, light.hits] as const;
    await times(140, echo);
    const [more, less] = [heavy.hits - before[0], light.hits - before[1]];
    assert.ok(more > 2 * less && less > 0, `${more} and ${less}`);
  });

  it("gives a slow instance less than a quick one", async () => {
    await using registry = disposable();
    const gate = Promise.withResolvers<void>();
    let arrived = Promise.withResolvers<void>();
    await using slow = await startEcho(registry, "slow", {}, () => {
      arrived.resolve();
      return gate.promise;
    });
    await using quick = await startEcho(registry, "quick");
    await using echo = await caller({ registry });
    const under: Promise<string>[] = [];
    for (let at = 0; at < 80; at++) {
      arrived = Promise.withResolvers<void>();
      const asked = echo.who();
      under.push(asked);
      await Promise.race([asked, arrived.promise]);
    }
    assert.ok(slow.hits < quick.hits, `${slow.hits} at the slow one, ${quick.hits} at the quick one`);
    gate.resolve();
    for (const text of await Promise.all(under)) assert.match(text, /^(slow|quick)$/);
  });

  it("names the instance in the metadata where that looks", async () => {
    await using registry = disposable();
    const seen: (string | undefined)[] = [];
    const look = (call: RpcCall): void => void seen.push(call.header("plinth-instance"));
    await using a = await startEcho(registry, "a", { identity: "a-1" }, look);
    await using echo = await caller({ registry });
    await echo.who();
    // two at one address, as when a process has taken over the address of one whose entry is there still: which it is now is not known
    const ports = { grpc: a.port };
    await registry.register({ service: "echo", id: "b", host: "127.0.0.1", ports, identity: "b-1" });
    await until(async () => (await echo.who()) === "a" && seen.at(-1) === undefined);
    assert.deepEqual([...new Set(seen)], ["a-1", undefined]);
  });

  it("goes to another instance when one says that the call is meant for somebody else, and leaves that one out", async () => {
    await using registry = disposable();
    const refuse = (): never => {
      throw new TransportError("ERR_MISDIRECTED", "unavailable", "this is another instance");
    };
    await using taken = await startEcho(registry, "taken", { identity: "before" }, refuse);
    await using echo = await caller({ registry });
    await assert.rejects(echo.client.say({ text: "?" }), { code: "ERR_RPC_UNAVAILABLE", isUnsent: true });
    await using a = await startEcho(registry, "a", { identity: "a" });
    await until(() => echo.who().then((who) => who === "a"));
    const before = taken.hits;
    assert.deepEqual([...new Set(await times(20, echo))], ["a"]);
    assert.ok(taken.hits <= before + 1, "once it has said so, it is left out");
    assert.ok(a.hits > 20);
  });

  it("leaves out a server of ours that has taken over the address of another instance", async () => {
    await using registry = disposable();
    let hits = 0;
    const say = (): { text: string } => {
      hits++;
      return { text: "taken" };
    };
    await using taken = await startGrpc({ handlers: { say }, instanceId: "now" });
    const ports = { grpc: taken.server.port };
    await registry.register({ service: "echo", id: "before", host: "127.0.0.1", ports, identity: "before" });
    await using _a = await startEcho(registry, "a", { identity: "a" });
    await using echo = await caller({ registry });
    assert.deepEqual([...new Set(await times(20, echo))], ["a"]);
    assert.equal(hits, 0, "no handler was reached");
  });

  it("leaves out an instance that died, and fails as unreachable when all have", async () => {
    await using registry = disposable();
    await using a = await startEcho(registry, "a");
    await using _b = await startEcho(registry, "b");
    await using echo = await caller({ registry });
    await until(async () => (await echo.who()) === "a");
    await a.kill();
    await until(async () => (await times(10, echo)).every((text) => text === "b"));
    await _b.kill();
    await until(async () => (await echo.who()) === "ERR_RPC_UNAVAILABLE");
  });

  it("keeps its connection to what stays, with the weight that it has by now", async () => {
    await using registry = disposable();
    await using a = await startEcho(registry, "behind-a");
    await using b = await startEcho(registry, "behind-b");
    for (const { registration } of [a, b]) await registration.deregister();
    await using wayToA = await startRelay(a.port);
    await using wayToB = await startRelay(b.port);
    const at = { service: "echo", host: "127.0.0.1" };
    const first = await registry.register({ ...at, id: "a", ports: { grpc: wayToA.port } });
    const second = await registry.register({ ...at, id: "b", ports: { grpc: wayToB.port } });
    await using echo = await caller({ registry });
    await until(async () => new Set(await times(10, echo)).size === 2);
    await first.update({ weight: 60_000 });
    await until(async () => (await times(20, echo)).every((who) => who === "behind-a"));
    await second.deregister();
    await first.update({ weight: 1 });
    assert.deepEqual([...new Set(await times(10, echo))], ["behind-a"]);
    assert.deepEqual([wayToA.made, wayToB.made, wayToA.open], [1, 1, 1]);
  });

  it("finds the one of a thousand that lives", async () => {
    await using registry = disposable();
    const dead = await freePort();
    for (let at = 0; at < 999; at++)
      await registry.register({
        service: "echo",
        id: `d${at}`,
        host: `127.1.${at >> 8}.${at & 255}`,
        ports: { grpc: dead },
      });
    await using _a = await startEcho(registry, "a");
    await using echo = await caller({ registry, minReconnectMs: 60_000, maxReconnectMs: 60_000 });
    assert.equal(await echo.who(), "a");
  });

  it("goes on with the last known instances when the registry is closed, and says so where it knows none", async () => {
    const registry = createMemoryRegistry();
    const { server } = await startGrpc({ handlers: { say: () => ({ text: "a" }) } });
    const source: Pick<Registry, "watch"> = {
      async *watch(service, options) {
        for await (const set of registry.watch(service, options)) {
          yield set;
          if (set.instances.length > 0) return;
        }
      },
    };
    await registry.register({ service: "echo", id: "a", host: "127.0.0.1", ports: { grpc: server.port } });
    await using echo = await caller({ registry: source });
    assert.equal(await echo.who(), "a");
    await registry.close();
    assert.equal(await echo.who(), "a");
    await using late = await caller({ registry });
    await assert.rejects(late.client.say({ text: "?" }), { code: "ERR_NO_INSTANCE", message: /closed/ });
    await server.close();
  });

  it("fails where the registry does not answer in time, and works once it does", async () => {
    const clock = new FakeClock();
    await using registry = disposable();
    const answer = Promise.withResolvers<void>();
    const slow: Pick<Registry, "watch"> = {
      async *watch(service, options) {
        await answer.promise;
        yield* registry.watch(service, options);
      },
    };
    await using _a = await startEcho(registry, "a");
    const resolver = await registerPlinthResolver({ registry: slow, clock });
    await using echo = await caller({ address: resolver.target("echo") });
    const asked = echo.client.say({ text: "?" }, { timeoutMs: 30_000 });
    const refused = assert.rejects(asked, { code: "ERR_NO_INSTANCE", message: /has not told within 3000 ms/ });
    await until(() => clock.pending > 0);
    await clock.advance(3_000);
    await refused;
    answer.resolve();
    await until(async () => (await echo.who()) === "a");
    resolver.close();
  });
});

describe("waitForReady", () => {
  it("lets a call wait for an instance, as long as it has time", async () => {
    await using registry = disposable();
    await using echo = await caller({ registry, waitForReady: true });
    await assert.rejects(echo.client.say({ text: "?" }, { timeoutMs: 20 }), { code: "ERR_DEADLINE_EXCEEDED" });
    const waiting = echo.who();
    await using a = await startEcho(registry, "a");
    assert.equal(await waiting, "a");
    assert.equal(a.hits, 1);
  });

  it("ends for a caller who leaves, and at the end of the channel", async () => {
    await using registry = disposable();
    const echo = await caller({ registry, waitForReady: true });
    const leaving = new AbortController();
    const left = echo.client.say({ text: "?" }, { signal: leaving.signal });
    const cut = echo.client.say({ text: "?" });
    leaving.abort();
    await assert.rejects(left);
    await echo[Symbol.asyncDispose]();
    await assert.rejects(cut, { code: "ERR_RPC_CLIENT_CLOSED" });
    await until(() => registry.stats().services.length === 0);
  });
});

describe("targets of the scheme plinth", () => {
  it("mean the only registry there is, and none or one by name where there are several", async () => {
    await using one = disposable();
    await using two = disposable();
    await using _a = await startEcho(one, "a");
    await using _b = await startEcho(two, "b");
    await using echo = await caller({ address: "plinth:///echo" });
    await assert.rejects(echo.client.say({ text: "?" }), { message: /no registry is there/ });
    const first = await registerPlinthResolver({ registry: one, names: ["app-one", "one-1"] });
    await until(async () => (await echo.who()) === "a");
    const second = await registerPlinthResolver({ registry: two, names: ["app-two"] });
    await using ambiguous = await caller({ address: "plinth:///echo" });
    await assert.rejects(ambiguous.client.say({ text: "?" }), { message: /2 registries are meant/ });
    await using named = await caller({ address: second.target("echo") });
    assert.equal(await named.who(), "b");
    await using byId = await caller({ address: "plinth://one-1/echo" });
    assert.equal(await byId.who(), "a");
    for (const resolver of [first, second, first]) resolver.close();
    assert.equal(await byId.who(), "a", "what follows it goes on");
    await using late = await caller({ address: "plinth://app-two/echo" });
    await assert.rejects(late.client.say({ text: "?" }), { message: /by the name "app-two" finds no registry/ });
  });

  it("serve clients of the library itself", async () => {
    await using registry = disposable();
    await using _a = await startEcho(registry, "a");
    const resolver = await registerPlinthResolver({ registry });
    const raw = new Client(resolver.target("echo"), credentials.createInsecure());
    const { method } = EchoService;
    const path = `/${method.say.parent.typeName}/${method.say.name}`;
    const same = (bytes: Buffer): Buffer => bytes;
    const metadata = new Metadata({ waitForReady: true });
    const reply = await new Promise<Buffer | undefined>((resolve, reject) =>
      raw.makeUnaryRequest(path, same, same, Buffer.alloc(0), metadata, (error, bytes) =>
        error ? reject(error) : resolve(bytes),
      ),
    );
    assert.ok(reply?.includes("a"));
    raw.close();
    resolver.close();
    await until(() => registry.stats().services.length === 0);
  });

  it("are refused where they name no service, and options where they make no sense", async () => {
    await using registry = disposable();
    await assert.rejects(createGrpcChannel({ peer: "echo", address: "plinth:///echo:50051" }), {
      code: "ERR_SERVICE_URL",
    });
    await assert.rejects(createGrpcChannel({ peer: "echo" }), { code: "ERR_OPTION_TYPE" });
    await assert.rejects(createGrpcChannel({ peer: "echo", address: "plinth:///a", registry }), {
      code: "ERR_OPTION_TYPE",
    });
    await assert.rejects(registerPlinthResolver({ registry, names: ["a/b"] }), { message: /^names / });
    assert.equal(currentContext(), undefined);
  });
});

function disposable(): Registry & AsyncDisposable {
  const registry = createMemoryRegistry();
  return Object.assign(registry, { [Symbol.asyncDispose]: () => registry.close() });
}
