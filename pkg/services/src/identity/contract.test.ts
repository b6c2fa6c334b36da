import { after, before, describe, it } from "node:test";
import { type Channels, channelsTo } from "../testing/wires.ts";
import {
  fakeIdentity,
  identityContract,
  type ReferenceServer,
  referenceServer,
  type SentMessage,
} from "../testing/index.ts";
import { createIdentityClient } from "./client.ts";

const fake = fakeIdentity();
const tokenSentTo = (email: string, kind: SentMessage["kind"]) =>
  fake.control.messages.findLast((sent) => sent.to === email && sent.kind === kind)?.token;
let server: ReferenceServer;
let channels: Channels;
before(async () => {
  server = await referenceServer({ identity: fake });
  channels = await channelsTo(server);
});
after(async () => {
  await channels.close();
  await server.close();
});

describe("the contract of Identity, by the fake", () => {
  for (const { name, run } of identityContract({ client: () => fake, tokenSentTo })) it(name, run);
});

for (const wire of ["grpc", "http", "json"] as const) {
  describe(`the contract of Identity, over ${wire}`, () => {
    const client = () => createIdentityClient({ channel: channels[wire], timeoutMs: 30_000 });
    for (const { name, run } of identityContract({ client, tokenSentTo })) it(name, run);
  });
}
