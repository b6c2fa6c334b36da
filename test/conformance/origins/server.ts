// Servers of other projects as origins, each with its own log of what it has read.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { until } from "@plinth/kernel/testing";
import { findFreePorts, findServer, type ServerName, startServerProcess } from "../../../scripts/servers/index.ts";
import type { Origin } from "./origin.ts";
import { nodeOrigin } from "./own.ts";

/** A line of their logs, `"GET /x HTTP/1.1" 200`, as this project says it. */
function toSeen(line: string): string {
  const [, request, status] = /^"(\S+ \S+) HTTP\/1\.1" (-?\d+)$/.exec(line) ?? [];
  // Of a request whose client has left nobody is told how it ended.
  return request === undefined || !["-1", "200", "400", "408", "499", "502"].includes(status ?? "")
    ? `unreadable: ${line}`
    : request;
}

async function startServer(
  name: ServerName,
  { folder, port, args }: { readonly folder: string; readonly port: number; readonly args: readonly string[] },
): Promise<AsyncDisposable> {
  const running = await startServerProcess(await findServer(name), args, folder);
  await until(async () => running.exited() || (await isOpen(port)), { what: `${name} to listen`, limitMs: 20_000 });
  if (running.exited()) throw new Error(`${name} has not come up: ${running.output()}`);
  return { [Symbol.asyncDispose]: () => running.stop() };
}

async function isOpen(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

function openFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `conformance-${name}-`));
  chmodSync(folder, 0o755); // where it is started by root, it serves as somebody else
  return folder;
}

/** What stands in a log by now; connections without a request, as ours that waits for the server, are no line of it. */
function linesOf(file: string): readonly string[] {
  const lines = existsSync(file) ? readFileSync(file, "latin1").split("\n").slice(0, -1) : [];
  return lines.filter((line) => !/^"-?" /.test(line)).map(toSeen);
}

/** Runs nginx with these lines for its `http`. */
export async function startNginx(
  lines: readonly string[],
  port: number,
): Promise<{ readonly folder: string } & AsyncDisposable> {
  const folder = openFolder("nginx");
  const config = [
    "worker_processes 1; pid nginx.pid; error_log stderr error; events { worker_connections 1024; }",
    "http { keepalive_requests 1000000; keepalive_timeout 1h; client_max_body_size 0; ignore_invalid_headers off;",
    "underscores_in_headers on; large_client_header_buffers 8 64k;",
    ...["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${kind};`),
    ...lines,
    "}",
  ];
  const file = join(folder, "nginx.conf");
  writeFileSync(file, config.join("\n"));
  const running = await startServer("nginx", {
    folder,
    port,
    args: ["-p", folder, "-e", "stderr", "-c", file, "-g", "daemon off;"],
  });
  return { folder, [Symbol.asyncDispose]: () => running[Symbol.asyncDispose]() };
}

/** Answers by itself, and throws bodies away. */
export async function nginxOrigin(): Promise<Origin> {
  const [port = 0] = await findFreePorts(1);
  const running = await startNginx(
    [
      `log_format row '"$request" $status'; access_log access.log row;`,
      `server { listen 127.0.0.1:${port}; add_header x-got "$request_method $request_uri" always; location / { return 200 ok; } }`,
    ],
    port,
  );
  return {
    name: "nginx",
    port,
    seen: () => linesOf(join(running.folder, "access.log")),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

/** Passes on to node:http, and tells itself what it has read. */
export async function haproxyOrigin(): Promise<Origin> {
  const [port = 0] = await findFreePorts(1);
  const folder = openFolder("haproxy");
  const lines: string[] = [];
  const log = createSocket("udp4").on(
    "message",
    (message) => void lines.push(...message.toString("latin1").trimEnd().split("\n")),
  );
  log.bind(0, "127.0.0.1");
  await once(log, "listening");
  const behind = await nodeOrigin();
  const config = [
    "global",
    `  log 127.0.0.1:${log.address().port} len 65535 format raw local0`,
    "defaults",
    "  mode http",
    "  timeout connect 5s",
    "  timeout client 60s",
    "  timeout server 60s",
    "  option dontlognull",
    "frontend front",
    "  log global",
    '  log-format "%{+Q}r %ST"',
    `  bind 127.0.0.1:${port}`,
    "  default_backend behind",
    "backend behind",
    `  server one 127.0.0.1:${behind.port}`,
    "",
  ];
  const file = join(folder, "haproxy.cfg");
  writeFileSync(file, config.join("\n"));
  const running = await startServer("haproxy", { folder, port, args: ["-db", "-f", file] });
  return {
    name: "HAProxy",
    port,
    seen: () => {
      const unreadable = behind.seen().filter((line) => line.startsWith("unreadable"));
      return [...lines.filter((line) => !line.startsWith('"<BADREQ>"')).map(toSeen), ...unreadable];
    },
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]();
      await behind[Symbol.asyncDispose]();
      log.close();
    },
  };
}

/** Reads the whole body, and answers by a script of its own. */
export async function apacheOrigin(): Promise<Origin> {
  const [port = 0] = await findFreePorts(1);
  const folder = openFolder("apache");
  const { bin } = await findServer("apache2");
  const modules = join(dirname(dirname(bin)), "lib/apache2/modules");
  const load = (name: string): string => `LoadModule ${name}_module ${join(modules, `mod_${name}.so`)}`;
  writeFileSync(
    join(folder, "answer.lua"),
    `function handle(r)\n  r:requestbody()\n  r.headers_out["x-got"] = r.method .. " " .. r.unparsed_uri\n  r.content_type = "text/plain"\n  r:puts("ok")\n  return apache2.OK\nend\n`,
  );
  const config = [
    ...["mpm_event", "authz_core", "lua"].map(load),
    `ServerRoot ${folder}`,
    `DefaultRuntimeDir ${folder}`,
    "PidFile apache.pid",
    "ServerName a",
    "User #65534",
    "Group #65534",
    `Listen 127.0.0.1:${port}`,
    `ErrorLog ${join(folder, "error.log")}`,
    `LogFormat "\\"%r\\" %>s" row`,
    `CustomLog ${join(folder, "access.log")} row`,
    "KeepAliveTimeout 60",
    "MaxKeepAliveRequests 0",
    "LimitRequestFields 200",
    "LimitRequestLine 16384",
    "AllowEncodedSlashes NoDecode",
    `LuaMapHandler "^/.*" ${join(folder, "answer.lua")}`,
    "<Directory />",
    "Require all granted",
    "</Directory>",
    "",
  ];
  const file = join(folder, "apache.conf");
  writeFileSync(file, config.join("\n"));
  const running = await startServer("apache2", { folder, port, args: ["-d", folder, "-f", file, "-DFOREGROUND"] });
  return {
    name: "Apache",
    port,
    seen: () => linesOf(join(folder, "access.log")),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}
