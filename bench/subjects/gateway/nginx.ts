// nginx as one worker, tuned as an operator would for this load: upstream keep-alive, HTTP/1.1 behind, no access log.
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { findFreePorts } from "../../../scripts/servers/index.ts";
import type { Lab, ServerLaunch } from "../../harness/lab.ts";
import type { PeerBinary } from "../peer-binary.ts";
import { replyText } from "../reply.ts";

// nginx closes a connection after 1000 requests by default; a closed connection is an error to the load generator.
const endless = 1_000_000_000;

/** The length of the body of `/large`. */
export const largeBytes = 1_048_576;

/** A fixed reply, the cheapest steady origin at hand: it leaves the load side's CPU to the load generator. */
export async function nginxOrigin(lab: Lab, nginx: PeerBinary): Promise<ServerLaunch> {
  return launch(lab, nginx, "origin (nginx)", (port) => [
    `server {`,
    `  listen 127.0.0.1:${port};`,
    `  default_type application/json;`,
    `  client_max_body_size 0;`,
    `  location / { return 200 '${replyText}'; }`,
    `  location = /large { root .; }`,
    `}`,
  ]);
}

/** A reverse proxy to the origin. */
export async function nginxProxy(lab: Lab, nginx: PeerBinary, originPort: number): Promise<ServerLaunch> {
  return launch(lab, nginx, "nginx", (port) => [
    `upstream origin { server 127.0.0.1:${originPort}; keepalive 128; keepalive_requests ${endless}; keepalive_time 1h; }`,
    `server {`,
    `  listen 127.0.0.1:${port};`,
    `  client_max_body_size 0;`,
    `  location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_request_buffering off; proxy_set_header Connection ""; }`,
    `}`,
  ]);
}

async function launch(
  lab: Lab,
  { bin, env }: PeerBinary,
  name: string,
  servers: (port: number) => readonly string[],
): Promise<ServerLaunch> {
  const directory = await lab.directory();
  await chmod(directory, 0o755); // its workers are another user where it is started by root
  const [port = 0] = await findFreePorts(1);
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const config = [
    `worker_processes 1;`,
    `pid nginx.pid;`,
    `error_log stderr error;`,
    `events { worker_connections 4096; }`,
    `http {`,
    `  access_log off;`,
    `  sendfile on;`,
    `  keepalive_requests ${endless};`,
    `  keepalive_timeout 1h;`,
    `  keepalive_time 1h;`,
    ...temporary.map((kind) => `  ${kind}_temp_path ${kind};`),
    ...servers(port).map((line) => `  ${line}`),
    `}`,
    ``,
  ];
  await writeFile(join(directory, "large"), "x".repeat(largeBytes));
  const file = join(directory, "nginx.conf");
  await writeFile(file, config.join("\n"));
  return { name, bin, env, port, args: ["-p", directory, "-e", "stderr", "-c", file, "-g", "daemon off;"] };
}
