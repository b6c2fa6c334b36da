import { after, before, describe, it } from "node:test";
import { createInProcessChannel, type RpcChannel } from "@plinth/transport";
import {
  auditService,
  authService,
  authzService,
  createAuditClient,
  createAuthClient,
  createAuthzClient,
  createIdentityClient,
  identityService,
} from "../index.ts";
import {
  auditContract,
  authContract,
  authzContract,
  fakeAudit,
  fakeAuth,
  fakeAuthz,
  fakeIdentity,
  identityContract,
  type ReferenceServer,
  referenceServer,
  type SentMessage,
} from "../testing/index.ts";
import { createBalancedChannel } from "./balanced-channel.ts";

const audit = fakeAudit();
const authz = fakeAuthz();
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

const tokenSentTo = (email: string, kind: SentMessage["kind"]) =>
  identity.control.messages.findLast((sent) => sent.to === email && sent.kind === kind)?.token;

const ways = ["in process", "balanced over grpc", "balanced over http"] as const;
const channels = new Map<(typeof ways)[number], RpcChannel>();
let servers: readonly ReferenceServer[] = [];
before(async () => {
  const fakes = { audit, authz, identity, auth };
  // two instances of what keeps its state in one place
  servers = await Promise.all([referenceServer(fakes), referenceServer(fakes)]);
  const services = [auditService(audit), authzService(authz), identityService(identity), authService(auth)];
  channels.set("in process", await createInProcessChannel(services));
  for (const transport of ["grpc", "http"] as const) {
    const addresses = servers.map((one) => (transport === "grpc" ? one.grpcAddress : new URL(one.httpUrl).host));
    const options = { service: "reference", find: { addresses }, transport, timeoutMs: 30_000 };
    channels.set(`balanced over ${transport}`, await createBalancedChannel(options));
  }
});
after(async () => {
  for (const channel of channels.values()) await channel.close();
  for (const server of servers) await server.close();
});

for (const way of ways) {
  const options = () => {
    const channel = channels.get(way);
    if (!channel) throw new Error(`there is no channel ${way}`);
    return { channel, timeoutMs: 30_000 };
  };
  const suites = {
    Audit: auditContract({ client: () => createAuditClient(options()) }),
    Auth: authContract({ ...world, client: () => createAuthClient(options()) }),
    Authz: authzContract({ client: () => createAuthzClient(options()) }),
    Identity: identityContract({ client: () => createIdentityClient(options()), tokenSentTo }),
  };
  for (const [name, cases] of Object.entries(suites))
    describe(`the contract of ${name}, ${way}`, () => {
      for (const { name: sentence, run } of cases) it(sentence, run);
    });
}
