import type { Address } from "./platform.ts";

/** What a person sees when all is ready: where everything is, and lines to try it with. */
export function platformTable(addresses: readonly Address[]): string {
  const width = Math.max(...addresses.map(({ what }) => what.length));
  const rows = addresses.map(({ what, url }) => `  ${what.padEnd(width)}  ${url}`);
  const gateway = addresses.find(({ what }) => what === "gateway")?.url;
  const audit = addresses.find(({ what }) => what === "audit")?.url;
  return `\nThe platform is ready.\n\n${rows.join("\n")}\n${gateway === undefined ? "" : walkThrough(gateway, audit)}`;
}

function walkThrough(gateway: string, audit: string | undefined): string {
  const recorded = `curl ${audit}/plinth.audit.v1.AuditService/Query -H "content-type: application/json" -d '{}'`;
  return `
Try it:

  curl ${gateway}/hello/ada
  TOKEN=$(npm run -s token -- --sub alice --scope "notes:read notes:write")
  curl -i ${gateway}/notes -H "authorization: Bearer $TOKEN" -H "content-type: application/json" -d '{"text":"remember the milk"}'
  curl ${gateway}/notes -H "authorization: Bearer $TOKEN"
${audit === undefined ? "" : `  ${recorded}\n`}
Ctrl-C stops everything.
`;
}
