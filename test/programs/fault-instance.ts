// Instances of a service in one process, a port each, run as a program by the tests of what the gateway does when they fail. Each request
// has a line in a file, written before its reply, so that what was done is known also of a process that was killed.
import { appendFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { text } from "node:stream/consumers";
import type { InstanceSettings } from "../support/fault-instances.ts";

const { PORTS = "", SERVICE = "", BOOK = "" } = process.env;

function serve(port: number): void {
  const settings: Required<InstanceSettings> = {
    delayMs: 2,
    status: 200,
    failShare: 0,
    retryAfter: "",
    keepAliveMs: 60_000,
    announces: true,
  };
  const server = createServer((request, response) => void answer(request, response));
  server.keepAliveTimeoutBuffer = 0;
  server.keepAliveTimeout = settings.keepAliveMs;
  server.listen(port, "127.0.0.1", () => process.stdout.write(`listening ${port}\n`));

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "" } = request;
    if (url === "/control") {
      Object.assign(settings, JSON.parse(await text(request)));
      server.keepAliveTimeout = settings.keepAliveMs;
      response.end();
      return;
    }
    request.on("error", () => undefined); // who has gone
    const body = method === "POST" ? await text(request).catch(() => undefined) : "";
    if (body === undefined) return;
    const id = String(request.headers["x-load-id"] ?? "");
    const fails = settings.status !== 200 || Math.random() < settings.failShare;
    // A write that is refused has no effect.
    const kind = fails ? "refused" : method === "POST" ? "done" : "read";
    appendFileSync(BOOK, `${JSON.stringify([Date.now(), port, id, kind])}\n`);
    if (settings.delayMs > 0) await delay(settings.delayMs);
    if (!settings.announces) response.setHeader("connection", "keep-alive");
    response.setHeader("x-instance", String(port));
    if (fails) {
      if (settings.retryAfter !== "") response.setHeader("retry-after", settings.retryAfter);
      response.writeHead(settings.status === 200 ? 503 : settings.status).end(`refused ${id}`);
      return;
    }
    if (url.endsWith("/slow-body")) {
      response.write("x".repeat(100_000));
      return; // the rest never comes
    }
    // Replies of different lengths, so that the bytes of two are not taken for one.
    response.end(`${SERVICE} ${id} ${body} ${"=".repeat(id.length * 37)}`);
  }
}

for (const port of PORTS.split(",")) serve(Number(port));
