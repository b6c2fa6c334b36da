// The proxies that people put in front of services today, each in front of the same origin.
import type { Lab } from "../../harness/lab.ts";
import type { ServerRow } from "../../harness/under-load.ts";
import { findPeer } from "../peer-binary.ts";
import { startNode } from "../programs.ts";
import { caddyProxy } from "./caddy.ts";
import { haproxyProxy } from "./haproxy.ts";
import { nginxProxy } from "./nginx.ts";

/** nginx with one worker, HAProxy with one thread, Caddy with one thread of Go. */
export async function nativeProxies(lab: Lab, originPort: number): Promise<readonly ServerRow[]> {
  const [nginx, haproxy, caddy] = await Promise.all([findPeer("nginx"), findPeer("haproxy"), findPeer("caddy")]);
  return [
    { name: "nginx", role: "peer", start: async () => lab.server(await nginxProxy(lab, nginx, originPort)) },
    { name: "haproxy", role: "peer", start: async () => lab.server(await haproxyProxy(lab, haproxy, originPort)) },
    { name: "caddy", role: "peer", start: async () => lab.server(await caddyProxy(lab, caddy, originPort)) },
  ];
}

const nodePrograms = {
  "@fastify/http-proxy": "fastify-http-proxy.ts",
  "http-proxy-3": "http-proxy-3.ts",
  "express + http-proxy-middleware": "express-proxy.ts",
} as const;

/** Those on Node. @param names - Default: all. */
export function nodeProxies(
  lab: Lab,
  originPort: number,
  names: readonly (keyof typeof nodePrograms)[] = [
    "@fastify/http-proxy",
    "http-proxy-3",
    "express + http-proxy-middleware",
  ],
): readonly ServerRow[] {
  const env = { ORIGIN_PORT: String(originPort) };
  return names.map((name) => ({
    name,
    role: "peer",
    start: () => startNode(lab, `gateway/${nodePrograms[name]}`, env),
  }));
}
