import { after, before, describe, it } from "node:test";
import { type Channels, channelsTo } from "../testing/wires.ts";
import { fakeAudit, auditContract, type ReferenceServer, referenceServer } from "../testing/index.ts";
import { createAuditClient } from "./client.ts";

const fake = fakeAudit();
let server: ReferenceServer;
let channels: Channels;
before(async () => {
  server = await referenceServer({ audit: fake });
  channels = await channelsTo(server);
});
after(async () => {
  await channels.close();
  await server.close();
});

describe("the contract of Audit, by the fake", () => {
  for (const { name, run } of auditContract({ client: () => fake })) it(name, run);
});

for (const wire of ["grpc", "http", "json"] as const) {
  describe(`the contract of Audit, over ${wire}`, () => {
    const client = () => createAuditClient({ channel: channels[wire], timeoutMs: 30_000 });
    for (const { name, run } of auditContract({ client })) it(name, run);
  });
}
