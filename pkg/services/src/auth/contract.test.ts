import { after, before, describe, it } from "node:test";
import { type Channels, channelsTo } from "../testing/wires.ts";
import { authContract, fakeAuth, fakeIdentity, type ReferenceServer, referenceServer } from "../testing/index.ts";
import { createAuthClient } from "./client.ts";

const identity = fakeIdentity({ endSessions: (userId) => auth.control.endSessions(userId) });
const service = { clientId: "notes", clientSecret: "s3cret", scopes: ["audit:record", "authz:check"] };
const auth = fakeAuth({ identity, services: { notes: { secret: service.clientSecret, scopes: service.scopes } } });
let users = 0;
const world = {
  service,
  newUser: async () => {
    const [login, password] = [`user-${users++}@example.com`, "correct horse battery"];
    return { ...(await identity.createUser({ email: login, password })), login, password };
  },
  disableUser: (userId: Parameters<typeof auth.control.loginToken>[0]) => identity.disableUser({ userId }),
  loginToken: auth.control.loginToken,
};
let server: ReferenceServer;
let channels: Channels;
before(async () => {
  server = await referenceServer({ auth });
  channels = await channelsTo(server);
});
after(async () => {
  await channels.close();
  await server.close();
});

describe("the contract of Auth, by the fake", () => {
  for (const { name, run } of authContract({ ...world, client: () => auth })) it(name, run);
});

for (const wire of ["grpc", "http", "json"] as const) {
  describe(`the contract of Auth, over ${wire}`, () => {
    const client = () => createAuthClient({ channel: channels[wire], timeoutMs: 30_000 });
    for (const { name, run } of authContract({ ...world, client })) it(name, run);
  });
}
