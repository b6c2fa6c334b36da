import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { channel } from "node:diagnostics_channel";
import { once } from "node:events";
import { Server } from "node:net";
import { describe, it } from "node:test";
import {
  type App,
  coreModule,
  createApp,
  createHealth,
  createTracing,
  defineModule,
  errorReporters,
  type Logger,
  logger,
  type Module,
  provider,
  systemClock,
  token,
} from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import type { TransportError } from "./errors.ts";
import { grpcModule } from "./grpc/module.ts";
import { createGrpcServer } from "./grpc/server.ts";
import { httpModule } from "./http/module.ts";
import { createHttpServer } from "./http/server.ts";
import { createOpsHandler } from "./ops/handler.ts";
import { opsModule } from "./ops/module.ts";
import { startOpsServer } from "./ops/server.ts";
import { testSettings as grpcDefaults } from "./testing/grpc.ts";
import { observe, type Observed, parseReply, startHttp, testSettings as httpDefaults } from "./testing/http.ts";
import { watchListeners } from "./watch-listeners.ts";

interface Kind {
  readonly what: string;
  readonly module: Module;
  readonly settings: Readonly<Record<string, unknown>>;
  /** Starts one without an app. */
  byHand(options: Observed & { onDied?: (error: TransportError) => void }): Promise<{ close(): Promise<void> }>;
}

const clock = systemClock;
const kinds: Readonly<Record<string, Kind>> = {
  http: {
    what: "http server",
    module: httpModule,
    settings: { http: { port: 0 } },
    async byHand(observed) {
      const server = await createHttpServer({
        ...observed,
        settings: httpDefaults,
        tracing: createTracing(),
        clock,
        routes: [],
      });
      await server.listen();
      return server;
    },
  },
  grpc: {
    what: "grpc server",
    module: grpcModule,
    settings: { grpc: { port: 0 } },
    async byHand(observed) {
      const server = await createGrpcServer({
        ...observed,
        settings: grpcDefaults,
        tracing: createTracing(),
        clock,
        health: createHealth({ clock }),
        services: [],
      });
      await server.listen();
      return server;
    },
  },
  ops: {
    what: "ops listener",
    module: opsModule,
    settings: { ops: { port: 0 } },
    byHand({ errors, metrics, onDied }) {
      const handler = createOpsHandler({ health: createHealth({ clock }), metrics });
      return startOpsServer({ handler, errors, onDied, host: "127.0.0.1", port: 0, variable: "PORT" });
    },
  },
};

/** What begins to listen while `start` runs, and what that gives. */
async function listenersIn<T>(start: () => Promise<T>): Promise<{ readonly result: T; readonly listeners: Server[] }> {
  const listeners: Server[] = [];
  const onListen = (message: unknown): void => {
    if (typeof message !== "object" || message === null || !("server" in message)) return;
    if (message.server instanceof Server) listeners.push(message.server);
  };
  const listens = channel("tracing:net.server.listen:asyncEnd");
  listens.subscribe(onListen);
  try {
    return { result: await start(), listeners };
  } finally {
    listens.unsubscribe(onListen);
  }
}

function only(listeners: readonly Server[]): Server {
  const [listener] = listeners;
  assert.ok(listener !== undefined && listeners.length === 1, `${listeners.length} listeners`);
  return listener;
}

function addressOf(listener: Server): string {
  const address = listener.address();
  return typeof address === "object" && address !== null ? `${address.address}:${address.port}` : String(address);
}

function lost({ what }: Kind, address: string, how: string): Partial<TransportError> {
  return {
    name: "TransportError",
    code: "ERR_LISTEN_LOST",
    status: "unavailable",
    message: `the ${what} no longer listens on ${address}: ${how}; look for code that closes the server itself`,
  };
}

function assertError(actual: unknown, expected: Partial<TransportError>): void {
  assert.throws(() => {
    throw actual;
  }, expected);
}

const byOthers = "it was closed, and not by a stop of the app";
const noDescriptors = Object.assign(new Error("accept EMFILE"), { code: "EMFILE" });

/** A program of its own: this file with a kind as its argument. Its listener is closed behind its back when it is ready. */
async function program({ module, settings }: Kind): Promise<number> {
  const base = provider({
    provides: token("base").of<Logger>(),
    needs: { log: logger },
    create: ({ log }) => log,
    start: () => {},
    stop: (log) => log.info("base stops"),
  });
  const app: App = createApp({
    name: "program",
    modules: [coreModule, module, defineModule("base", [base])],
    config: {
      environment: {},
      arguments: [],
      defaults: settings,
      overrides: { lifecycle: { announceDelayMs: 0 } },
    },
  });
  const ready = Promise.withResolvers<void>();
  const { result, listeners } = await listenersIn(async () => {
    const code = app.run({ onReady: () => ready.resolve() });
    await Promise.race([ready.promise, code]);
    return { code };
  });
  for (const listener of listeners) listener.close();
  return result.code;
}

const kindOfProgram = kinds[process.argv[2] ?? ""];
if (kindOfProgram) process.exitCode = await program(kindOfProgram);
else tests();

async function runProgram(name: string): Promise<{ code: unknown; stdout: string; stderr: string }> {
  const args = ["--conditions=plinth-source", import.meta.filename, name];
  const child = spawn(process.execPath, args, { stdio: "pipe" });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => (output[name] += text));
  }
  const [code]: unknown[] = await once(child, "close");
  return { code, ...output };
}

function tests(): void {
  for (const [name, kind] of Object.entries(kinds)) {
    /** An app with its one listener, and what its error bus has been told. */
    const start = async () => {
      const reported: unknown[] = [];
      const reporter = provider({
        provides: errorReporters,
        create: () => ({
          name: "test",
          report: (reports) => void reported.push(...reports.map(({ error }) => error.cause)),
        }),
      });
      const { result: app, listeners } = await listenersIn(() =>
        testApp({
          name: "app",
          modules: [coreModule, kind.module, defineModule("test", [reporter])],
          config: { defaults: kind.settings },
        }),
      );
      const fatal: unknown[] = [];
      app.events.subscribe((event) => event.type === "fatal" && fatal.push(event.error));
      return { app, listener: only(listeners), reported, fatal };
    };

    describe(`an app whose ${kind.what} dies`, () => {
      it("fails with the address when the listener closes without being asked to, and still stops in order", async () => {
        const { app, listener, fatal } = await start();
        const error = lost(kind, addressOf(listener), byOthers);
        listener.close();
        assertError(await app.failure, error);
        await app.stop();
        assert.equal(app.state, "stopped");
        assert.equal(fatal.length, 1);
      });

      it("fails with the error that tells that it no longer listens", async () => {
        const { app, listener, fatal } = await start();
        const error = lost(kind, addressOf(listener), "taken away");
        const cause = new Error("taken away");
        listener.close();
        listener.emit("error", cause); // before `close` has been emitted
        const failure = await app.failure;
        assertError(failure, error);
        assert.ok(failure instanceof Error && failure.cause === cause);
        await app.stop();
        assert.equal(fatal.length, 1);
      });

      it("serves on after an error of a listener that still listens, and tells the error bus", async () => {
        const { app, listener, reported, fatal } = await start();
        listener.emit("error", noDescriptors);
        assert.ok(listener.listening);
        await app.stop();
        assert.deepEqual(reported, [noDescriptors]);
        assert.deepEqual(fatal, []);
      });

      it("does not fail when it stops in order, nor by what comes after", async () => {
        const { app, listener, reported, fatal } = await start();
        await app.stop();
        assert.equal(listener.listening, false);
        listener.emit("close");
        listener.emit("error", noDescriptors);
        assert.deepEqual(fatal, []);
        assert.deepEqual(reported, []);
      });

      it("exits with 1, everything stopped in order", async () => {
        const { code, stdout, stderr } = await runProgram(name);
        assert.equal(code, 1, stdout + stderr);
        const expected = new RegExp(
          `^fatal error, stopping: the ${kind.what} no longer listens on 127\\.0\\.0\\.1:\\d+: ${byOthers};[^\\n]+\\n$`,
        );
        assert.match(stderr, expected);
        const lines = stdout.split("\n").filter((line) => line.startsWith("{"));
        const messages = lines.map((line) => String(JSON.parse(line).message));
        const steps = messages.filter((message) => /^(app|base) /.test(message));
        assert.deepEqual(steps, ["app ready", "app draining", "app stopping", "base stops", "app stopped"]);
        assert.match(stdout, /"level":"fatal"[^\n]*"code":"ERR_LISTEN_LOST"/);
      });
    });

    describe(`a ${kind.what} made by hand`, () => {
      it("tells onDied once, and can still be closed", async () => {
        const died: TransportError[] = [];
        const observed = await observe();
        const told = Promise.withResolvers<void>();
        const onDied = (error: TransportError): void => {
          died.push(error);
          told.resolve();
        };
        const { result: server, listeners } = await listenersIn(() => kind.byHand({ ...observed, onDied }));
        const listener = only(listeners);
        const error = lost(kind, addressOf(listener), byOthers);
        listener.close();
        await told.promise;
        await Promise.all([server.close(), server.close()]);
        assert.equal(died.length, 1);
        assertError(died[0], error);
        assert.deepEqual(await observed.reports(), []);
      });

      it("tells the error bus where there is no onDied", async () => {
        const observed = await observe();
        const { result: server, listeners } = await listenersIn(() => kind.byHand(observed));
        const listener = only(listeners);
        const closed = once(listener, "close");
        listener.close();
        await closed;
        await server.close();
        const reports = await observed.reports();
        assert.deepEqual(
          reports.map(({ error, origin }) => [error.code, origin]),
          [["ERR_LISTEN_LOST", "process"]],
        );
      });
    });
  }

  describe("an HTTP server that has died", () => {
    it("still answers what is under way before its drain is over", async () => {
      const [reached, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<string>()];
      const { result: http, listeners } = await listenersIn(() =>
        startHttp({
          routes: (app) =>
            void app.get("/", () => {
              reached.resolve();
              return gate.promise;
            }),
        }),
      );
      const connection = http.connect();
      connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      await reached.promise;
      const listener = only(listeners);
      listener.close();
      listener.emit("error", new Error("taken away"));
      let isDrained = false;
      const drained = http.server.drain({ signal: new AbortController().signal }).then(() => (isDrained = true));
      await new Promise(setImmediate);
      assert.equal(isDrained, false);
      gate.resolve("x");
      assert.equal(parseReply(await connection.ended).body, "x");
      await drained;
      await http.server.close();
    });
  });

  describe("watchListeners", () => {
    it("tells once of a server that loses several listeners, with its address as it is written in a URL", async () => {
      const { errors } = await observe();
      const listeners = [new Server(), new Server()];
      const died: string[] = [];
      const onDied = ({ message }: TransportError): void => void died.push(message);
      watchListeners(listeners, { what: "grpc server", host: "::1", port: 5, errors, onDied });
      for (const listener of listeners) listener.emit("close");
      assert.equal(died.length, 1);
      assert.match(died[0] ?? "", /^the grpc server no longer listens on \[::1\]:5: /);
    });
  });
}
