// HAProxy as one thread, its connections to the origin shared by all clients, no logs.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { findFreePorts } from "../../../scripts/servers/index.ts";
import type { Lab, ServerLaunch } from "../../harness/lab.ts";
import type { PeerBinary } from "../peer-binary.ts";

export async function haproxyProxy(lab: Lab, { bin, env }: PeerBinary, originPort: number): Promise<ServerLaunch> {
  const directory = await lab.directory();
  const [port = 0] = await findFreePorts(1);
  const config = [
    `global`,
    `  nbthread 1`,
    `  maxconn 4096`,
    `defaults`,
    `  mode http`,
    `  no log`,
    `  http-reuse always`,
    `  timeout connect 5s`,
    `  timeout client 60s`,
    `  timeout server 60s`,
    `frontend clients`,
    `  bind 127.0.0.1:${port}`,
    `  default_backend origin`,
    `backend origin`,
    `  server origin 127.0.0.1:${originPort}`,
    ``,
  ];
  const file = join(directory, "haproxy.cfg");
  await writeFile(file, config.join("\n"));
  // -db: stay in the foreground, so that the process started is the one measured.
  return { name: "haproxy", bin, env, port, args: ["-db", "-f", file] };
}
