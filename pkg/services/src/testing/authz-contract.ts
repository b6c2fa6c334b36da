import assert from "node:assert/strict";
import { authzErrors } from "../authz/errors.ts";
import type { AuthzClient, ObjectRef, Relationship, RelationshipUpdate, SubjectRef } from "../authz/types.ts";
import { bindingId, roleId } from "../ids.ts";
import { allOf, type ContractCase, failsWith, freshName } from "./contract.ts";

export interface AuthzContractOptions {
  /** The client under test, asked for by each case. Its service may be used by others; the cases write names of their own. */
  readonly client: () => AuthzClient;
}

const touch = (relationship: Relationship): RelationshipUpdate => ({ operation: "touch", relationship });
const related = (resource: ObjectRef, relation: string, subject: SubjectRef): Relationship => ({
  resource,
  relation,
  subject,
});

/** What every service and client of `plinth.authz.v1` does, errors included. */
export function authzContract({ client }: AuthzContractOptions): readonly ContractCase[] {
  const fails = (work: Promise<unknown>, code: string) => failsWith(work, code, authzErrors);
  const user = (): ObjectRef => ({ type: "user", id: freshName("u") });
  const note = (): ObjectRef => ({ type: "note", id: freshName("n") });
  const group = (): ObjectRef => ({ type: "group", id: freshName("g") });
  const fresh = (consistencyToken: string) => ({ consistency: { atLeastAsFresh: consistencyToken } });
  return [
    {
      name: "allows by a relation that was written, with the token of the write, and nobody else",
      run: async () => {
        const [ada, eve, doc] = [user(), user(), note()];
        const token = await client().writeRelationships([touch(related(doc, "reader", ada))]);
        const asked = { resource: doc, relation: "reader", ...fresh(token) };
        const answer = await client().check({ subject: ada, ...asked });
        assert.equal(answer.allowed, true);
        assert.notEqual(answer.consistencyToken, "");
        assert.equal((await client().check({ subject: eve, ...asked })).allowed, false);
        const gone = await client().writeRelationships([
          { operation: "delete", relationship: related(doc, "reader", ada) },
        ]);
        const after = await client().check({ subject: ada, resource: doc, relation: "reader", ...fresh(gone) });
        assert.equal(after.allowed, false);
      },
    },
    {
      name: "looks into sets that are in sets, also when they go round",
      run: async () => {
        const [ada, doc, inner, outer] = [user(), note(), group(), group()];
        const members = (set: ObjectRef): SubjectRef => ({ ...set, relation: "member" });
        const token = await client().writeRelationships([
          touch(related(doc, "reader", members(outer))),
          touch(related(outer, "member", members(inner))),
          touch(related(inner, "member", members(outer))),
          touch(related(inner, "member", ada)),
        ]);
        const answer = await client().check({ subject: ada, resource: doc, relation: "reader", ...fresh(token) });
        assert.equal(answer.allowed, true);
      },
    },
    {
      name: "does not go deeper than 32 sets, and says so",
      run: async () => {
        const [ada, doc] = [user(), note()];
        const sets = Array.from({ length: 34 }, group);
        const links = sets
          .slice(1)
          .map((set, at) => touch(related(sets[at] ?? set, "member", { ...set, relation: "member" })));
        const first = touch(related(doc, "reader", { ...(sets[0] ?? doc), relation: "member" }));
        const token = await client().writeRelationships([first, ...links]);
        await fails(
          client().check({ subject: ada, resource: doc, relation: "reader", ...fresh(token) }),
          "ERR_AUTHZ_DEPTH",
        );
      },
    },
    {
      name: "allows by a role on the object, above it, and everywhere, and lists what that allows",
      run: async () => {
        const [ada, bob, root, folder, doc] = [user(), user(), note(), note(), note()];
        const [reading, writing] = [roleId(freshName("r")), roleId(freshName("r"))];
        const [read, write] = [`${reading}.read`, `${writing}.write`];
        await client().createRole({ roleId: reading, permissions: [read] });
        await client().createRole({ roleId: writing, permissions: [write, read] });
        await client().writeRelationships([
          touch(related(doc, "parent", folder)),
          touch(related(folder, "parent", root)),
        ]);
        await client().createBinding({ roleId: reading, subject: ada, resource: root });
        const { consistencyToken: token } = await client().createBinding({ roleId: writing, subject: bob });
        const allowed = async (subject: ObjectRef, resource: ObjectRef, permission: string) =>
          (await client().check({ subject, resource, permission, ...fresh(token) })).allowed;
        assert.deepEqual(
          await Promise.all([allowed(ada, doc, read), allowed(ada, root, read), allowed(ada, doc, write)]),
          [true, true, false],
        );
        assert.deepEqual(await Promise.all([allowed(bob, note(), write), allowed(bob, doc, read)]), [true, true]);
        const list = await client().listPermissions({ subject: bob, resource: doc, ...fresh(token) });
        assert.deepEqual(list.permissions, [read, write].toSorted());
      },
    },
    {
      name: "binds a role to a set",
      run: async () => {
        const [ada, doc, team] = [user(), note(), group()];
        const role = roleId(freshName("r"));
        await client().createRole({ roleId: role, permissions: ["notes.read"] });
        await client().writeRelationships([touch(related(team, "member", ada))]);
        const subject = { ...team, relation: "member" };
        const { consistencyToken } = await client().createBinding({ roleId: role, subject, resource: doc });
        const asked = { subject: ada, resource: doc, permission: "notes.read" };
        assert.equal((await client().check({ ...asked, ...fresh(consistencyToken) })).allowed, true);
      },
    },
    {
      name: "answers a batch in its order, on one state, each question by itself",
      run: async () => {
        const [ada, doc] = [user(), note()];
        const token = await client().writeRelationships([touch(related(doc, "reader", ada))]);
        const items = [
          { subject: ada, resource: doc, relation: "reader" },
          { subject: ada, resource: doc, relation: "writer" },
          { subject: ada, resource: { type: "Not a type", id: "1" }, relation: "reader" },
        ];
        const { results } = await client().batchCheck({ items, ...fresh(token) });
        assert.deepEqual(
          results.map(({ allowed, error }) => error?.code ?? allowed),
          [true, false, "ERR_REQUEST_INVALID"],
        );
      },
    },
    {
      name: "writes all relationships or none",
      run: async () => {
        const [ada, doc, other] = [user(), note(), note()];
        await client().writeRelationships([touch(related(doc, "reader", ada))]);
        const twice = client().writeRelationships([
          touch(related(other, "reader", ada)),
          { operation: "create", relationship: related(doc, "reader", ada) },
        ]);
        await fails(twice, "ERR_AUTHZ_RELATIONSHIP_EXISTS");
        const { allowed } = await client().check({
          subject: ada,
          resource: other,
          relation: "reader",
          consistency: "full",
        });
        assert.equal(allowed, false);
      },
    },
    {
      name: "lets nothing be above itself",
      run: async () => {
        const [low, middle, high] = [note(), note(), note()];
        await client().writeRelationships([
          touch(related(low, "parent", middle)),
          touch(related(middle, "parent", high)),
        ]);
        await fails(client().writeRelationships([touch(related(high, "parent", low))]), "ERR_AUTHZ_CYCLE");
      },
    },
    {
      name: "lists relationships page by page, all pages of one state",
      run: async () => {
        const doc = note();
        const readers = Array.from({ length: 5 }, user);
        const token = await client().writeRelationships(readers.map((reader) => touch(related(doc, "reader", reader))));
        const query = { resourceType: "note", resourceId: doc.id, pageSize: 2, ...fresh(token) };
        const first = await client().listRelationshipsPage(query);
        assert.equal(first.items.length, 2);
        await client().writeRelationships([touch(related(doc, "reader", user()))]);
        const rest = await allOf(client().listRelationships({ ...query, pageToken: first.nextPageToken }));
        const found = [...first.items, ...rest].map(({ subject }) => subject.id);
        assert.deepEqual(found.toSorted(), readers.map(({ id }) => id).toSorted());
        await fails(
          client().listRelationshipsPage({ ...query, relation: "writer", pageToken: first.nextPageToken }),
          "ERR_PAGE_TOKEN",
        );
      },
    },
    {
      name: "keeps roles: made once, changed by those who have seen them, deleted when nobody has them",
      run: async () => {
        const role = roleId(freshName("r"));
        const made = (await client().createRole({ roleId: role, description: "d", permissions: ["b", "a", "a"] })).role;
        assert.deepEqual(made.permissions, ["a", "b"]);
        assert.deepEqual(await client().getRole(role), made);
        await fails(client().createRole({ roleId: role, permissions: [] }), "ERR_AUTHZ_ROLE_EXISTS");
        const { role: changed } = await client().updateRole({ roleId: role, permissions: ["c"], etag: made.etag });
        assert.deepEqual([changed.permissions, changed.description], [["c"], "d"]);
        assert.notEqual(changed.etag, made.etag);
        await fails(client().updateRole({ roleId: role, description: "", etag: made.etag }), "ERR_AUTHZ_ETAG");
        assert.equal((await client().updateRole({ roleId: role, description: "" })).role.description, "");
        const { binding } = await client().createBinding({ roleId: role, subject: user() });
        await fails(client().deleteRole({ roleId: role }), "ERR_AUTHZ_ROLE_BOUND");
        await client().deleteBinding(binding.bindingId);
        await client().deleteRole({ roleId: role });
        await client().deleteRole({ roleId: role });
        await fails(client().getRole(role), "ERR_AUTHZ_ROLE_NOT_FOUND");
        await fails(client().updateRole({ roleId: role, description: "" }), "ERR_AUTHZ_ROLE_NOT_FOUND");
        await fails(client().createBinding({ roleId: role, subject: user() }), "ERR_AUTHZ_ROLE_NOT_FOUND");
      },
    },
    {
      name: "makes the same binding once, lists it, and takes it back once and again",
      run: async () => {
        const [ada, doc] = [user(), note()];
        const role = roleId(freshName("r"));
        await client().createRole({ roleId: role, permissions: [] });
        const wanted = { roleId: role, subject: ada, resource: doc };
        const { binding } = await client().createBinding(wanted);
        assert.deepEqual((await client().createBinding(wanted)).binding, binding);
        const { binding: everywhere, consistencyToken } = await client().createBinding({ roleId: role, subject: ada });
        assert.deepEqual(
          await allOf(client().listBindings({ roleId: role, pageSize: 1, ...fresh(consistencyToken) })),
          [binding, everywhere],
        );
        assert.deepEqual(await allOf(client().listBindings({ resource: doc, ...fresh(consistencyToken) })), [binding]);
        await client().deleteBinding(binding.bindingId);
        const token = await client().deleteBinding(binding.bindingId);
        assert.deepEqual(await allOf(client().listBindings({ subject: ada, ...fresh(token) })), [everywhere]);
        await client().deleteBinding(bindingId("none-such"));
      },
    },
    {
      name: "lists all roles, by their ids",
      run: async () => {
        const roles = [roleId(freshName("z1")), roleId(freshName("z2"))];
        for (const id of roles) await client().createRole({ roleId: id, permissions: [] });
        const ids = (await allOf(client().listRoles({ pageSize: 200 }))).map((role) => role.roleId);
        assert.deepEqual(
          ids.filter((id) => roles.includes(id)),
          roles,
        );
        assert.deepEqual(ids, ids.toSorted());
        await fails(client().listRolesPage({ pageToken: "nonsense" }), "ERR_PAGE_TOKEN");
      },
    },
    {
      name: "refuses a consistency token that it has not made",
      run: async () => {
        const about = { subject: user(), resource: note(), ...fresh("nonsense") };
        await fails(client().check({ ...about, relation: "reader" }), "ERR_AUTHZ_CONSISTENCY_TOKEN");
        await fails(client().listPermissions(about), "ERR_AUTHZ_CONSISTENCY_TOKEN");
      },
    },
    {
      name: "refuses what breaks the contract, with every fault of it",
      run: async () => {
        const bad = { type: "Bad Type", id: "" };
        const error = await fails(
          client().check({ subject: bad, resource: note(), permission: "No Permission" }),
          "ERR_REQUEST_INVALID",
        );
        const faults: unknown = Reflect.get(error, "faults");
        assert.ok(Array.isArray(faults) && faults.length >= 3, String(faults));
        await fails(client().batchCheck({ items: [] }), "ERR_REQUEST_INVALID");
        await fails(client().writeRelationships([]), "ERR_REQUEST_INVALID");
        await fails(client().updateRole({ roleId: roleId("r") }), "ERR_REQUEST_INVALID");
        await fails(client().listRelationshipsPage({ resourceId: "1" }), "ERR_REQUEST_INVALID");
        const double = touch(related(note(), "reader", user()));
        await fails(client().writeRelationships([double, double]), "ERR_REQUEST_INVALID");
      },
    },
    {
      name: "does nothing for a caller who has left",
      run: async () => {
        const role = roleId(freshName("r"));
        const made = client().createRole({ roleId: role, permissions: [] }, { signal: AbortSignal.abort() });
        await assert.rejects(made, { status: "cancelled" });
        await fails(client().getRole(role), "ERR_AUTHZ_ROLE_NOT_FOUND");
      },
    },
  ];
}
