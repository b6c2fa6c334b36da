// Caddy on one thread of Go, as its reverse_proxy directive comes, without its admin port and without logs.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { findFreePorts } from "../../../scripts/servers/index.ts";
import type { Lab, ServerLaunch } from "../../harness/lab.ts";
import type { PeerBinary } from "../peer-binary.ts";

export async function caddyProxy(lab: Lab, { bin, env }: PeerBinary, originPort: number): Promise<ServerLaunch> {
  const directory = await lab.directory();
  const [port = 0] = await findFreePorts(1);
  const config = [
    `{`,
    `  admin off`,
    `  auto_https off`,
    `}`,
    `http://127.0.0.1:${port} {`,
    `  reverse_proxy 127.0.0.1:${originPort} {`,
    `    transport http {`,
    `      keepalive_idle_conns_per_host 2048`,
    `    }`,
    `  }`,
    `}`,
    ``,
  ];
  const file = join(directory, "Caddyfile");
  await writeFile(file, config.join("\n"));
  const own = { HOME: directory, XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory, GOMAXPROCS: "1" };
  return {
    name: "caddy",
    bin,
    env: { ...env, ...own },
    port,
    args: ["run", "--config", file, "--adapter", "caddyfile"],
  };
}
