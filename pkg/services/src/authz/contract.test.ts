import { after, before, describe, it } from "node:test";
import { type Channels, channelsTo } from "../testing/wires.ts";
import { fakeAuthz, authzContract, type ReferenceServer, referenceServer } from "../testing/index.ts";
import { createAuthzClient } from "./client.ts";

const fake = fakeAuthz();
let server: ReferenceServer;
let channels: Channels;
before(async () => {
  server = await referenceServer({ authz: fake });
  channels = await channelsTo(server);
});
after(async () => {
  await channels.close();
  await server.close();
});

describe("the contract of Authz, by the fake", () => {
  for (const { name, run } of authzContract({ client: () => fake })) it(name, run);
});

for (const wire of ["grpc", "http", "json"] as const) {
  describe(`the contract of Authz, over ${wire}`, () => {
    const client = () => createAuthzClient({ channel: channels[wire], timeoutMs: 30_000 });
    for (const { name, run } of authzContract({ client })) it(name, run);
  });
}
