import { AppError } from "@plinth/kernel";
import type {
  AuthzClient,
  Binding,
  BindingQuery,
  CheckResult,
  Consistency,
  ConsistencyToken,
  RelationshipQuery,
  RelationshipUpdate,
  Role,
  RoleChange,
} from "../authz/types.ts";
import { compact } from "../convert.ts";
import { bindingId, type RoleId } from "../ids.ts";
import { itemsOf, type PageRequest } from "../pages.ts";
import { AuthzGraph, type AuthzState, objectKey, relationshipKey, subjectKey } from "./authz-graph.ts";
import { checkItem, checkPermissions, checkQuery, checkRelationship, checkUpdates } from "./authz-checks.ts";
import { Checks } from "./checks.ts";
import { type FakeControl, type FakeOptions, Gate, type Source, sourceOf } from "./control.ts";
import { badPageToken, pageOf, startOf } from "./paging.ts";

/** Authz in memory, with what a test may have it do. */
export interface FakeAuthz extends AuthzClient {
  readonly control: FakeControl<keyof AuthzClient> & {
    /** Answers that may be old are so many writes behind: 0 or more. Default 0. */
    lag(writes: number): void;
  };
}

/** A fake of Authz that answers as the contract says: relations, sets, roles, parents, consistency tokens. Nothing leaves the process. */
export function fakeAuthz(options: FakeOptions = {}): FakeAuthz {
  const gate = new Gate<keyof AuthzClient>();
  const store = new Store(sourceOf(options));
  const control = Object.assign(gate, { lag: (writes: number) => void (store.lag = writes) });
  return { ...clientOf(store, gate), control };
}

/** How long a state is kept for the pages of a list, in milliseconds. */
const keptMs = 600_000;

/** All states of the last ten minutes. */
class Store {
  lag = 0;
  readonly source: Source;
  readonly #instance: string;
  #states: { readonly state: AuthzState; readonly atMs: number }[];

  constructor(source: Source) {
    this.source = source;
    this.#instance = source.hex(4);
    const state = { revision: 0, relationships: new Map(), roles: new Map(), bindings: new Map() };
    this.#states = [{ state, atMs: source.clock.monotonicMs() }];
  }

  get head(): AuthzState {
    return this.#at(this.#states.length - 1);
  }

  /** The state after a change. */
  write(change: Partial<Omit<AuthzState, "revision">>): ConsistencyToken {
    const atMs = this.source.clock.monotonicMs();
    const state = { ...this.head, ...change, revision: this.head.revision + 1 };
    const young = this.#states.filter(
      (kept, at) => at >= this.#states.length - 1 - this.lag || atMs - kept.atMs < keptMs,
    );
    this.#states = [...young, { state, atMs }];
    return this.tokenOf(state);
  }

  tokenOf({ revision }: AuthzState): ConsistencyToken {
    return `c1.${this.#instance}.${revision}`;
  }

  /** @throws AppError `ERR_AUTHZ_CONSISTENCY_TOKEN`. */
  read(consistency: Consistency = "minimizeLatency"): AuthzState {
    if (consistency === "full") return this.head;
    const stale = this.#at(Math.max(0, this.#states.length - 1 - this.lag));
    if (consistency === "minimizeLatency") return stale;
    const [, instance, revision] = /^c1\.([0-9a-f]{8})\.(\d{1,9})$/.exec(consistency.atLeastAsFresh) ?? [];
    if (instance !== this.#instance || Number(revision) > this.head.revision)
      throw AppError.invalidArgument(
        "ERR_AUTHZ_CONSISTENCY_TOKEN",
        "this consistency token is none of this service; ask without one",
      );
    return stale.revision >= Number(revision) ? stale : this.head;
  }

  /** A state that a page token tells of, if it is kept. */
  stateOf(revision: number): AuthzState | undefined {
    const atMs = this.source.clock.monotonicMs();
    const kept = this.#states.find(({ state }) => state.revision === revision);
    return kept && (kept.state === this.head || atMs - kept.atMs < keptMs) ? kept.state : undefined;
  }

  #at(index: number): AuthzState {
    const kept = this.#states[index];
    if (kept === undefined) throw new RangeError(`there is no state ${index}`);
    return kept.state;
  }
}

function clientOf(store: Store, gate: Gate<keyof AuthzClient>): AuthzClient {
  const client: AuthzClient = {
    async check({ consistency, ...item }, options) {
      await gate.enter("check", options);
      checkItem(item, "/item");
      const state = store.read(consistency);
      return { allowed: new AuthzGraph(state).allows(item), consistencyToken: store.tokenOf(state) };
    },
    async batchCheck({ items, consistency }, options) {
      await gate.enter("batchCheck", options);
      new Checks().size(items.length, "/items", { min: 1, max: 100 }).done();
      const state = store.read(consistency);
      const graph = new AuthzGraph(state);
      const results = items.map((item, at) =>
        resultOf(() => {
          checkItem(item, `/items/${at}`);
          return graph.allows(item);
        }),
      );
      return { results, consistencyToken: store.tokenOf(state) };
    },
    async listPermissions({ subject, resource, consistency }, options) {
      await gate.enter("listPermissions", options);
      new Checks().object(subject, "/subject").object(resource, "/resource").done();
      const state = store.read(consistency);
      return {
        permissions: new AuthzGraph(state).permissions(subject, resource),
        consistencyToken: store.tokenOf(state),
      };
    },
    async writeRelationships(updates, options) {
      await gate.enter("writeRelationships", options);
      checkUpdates(updates);
      return store.write({ relationships: applied(store.head, updates) });
    },
    listRelationships: (query = {}, options) =>
      itemsOf((pageToken) => client.listRelationshipsPage({ ...query, pageToken }, options), query.pageToken),
    async listRelationshipsPage(query = {}, options) {
      await gate.enter("listRelationshipsPage", options);
      checkQuery(query);
      const state = stateFor(store, query);
      const all = [...state.relationships.values()].filter((one) => fits(one, query));
      const sorted = all.toSorted((a, b) => (relationshipKey(a) < relationshipKey(b) ? -1 : 1));
      return { ...pageOf(sorted, query, { state: state.revision }), consistencyToken: store.tokenOf(state) };
    },
    async createRole({ roleId, description = "", permissions }, options) {
      await gate.enter("createRole", options);
      checkPermissions(permissions, description);
      if (store.head.roles.has(roleId))
        throw AppError.alreadyExists("ERR_AUTHZ_ROLE_EXISTS", `there is a role ${roleId} already`);
      const now = store.source.now();
      return writeRole(store, { roleId, description, permissions, createdAt: now, updatedAt: now, etag: "" });
    },
    async getRole(id, options) {
      await gate.enter("getRole", options);
      return requireRole(store, id);
    },
    listRoles: (request = {}, options) =>
      itemsOf((pageToken) => client.listRolesPage({ ...request, pageToken }, options), request.pageToken),
    async listRolesPage(request = {}, options) {
      await gate.enter("listRolesPage", options);
      const roles = [...store.head.roles.values()];
      return pageOf(
        roles.toSorted((a, b) => (a.roleId < b.roleId ? -1 : 1)),
        request,
      );
    },
    async updateRole({ roleId, etag, ...change }, options) {
      await gate.enter("updateRole", options);
      new Checks()
        .that(change.description !== undefined || change.permissions !== undefined, "/update_mask", "must name a field")
        .done();
      checkPermissions(change.permissions ?? [], change.description ?? "");
      const role = requireRole(store, roleId);
      requireEtag(role, etag);
      return writeRole(store, { ...role, ...merged(role, change), updatedAt: store.source.now() });
    },
    async deleteRole({ roleId, etag }, options) {
      await gate.enter("deleteRole", options);
      const { roles, bindings } = store.head;
      const role = roles.get(roleId);
      if (role === undefined) return store.tokenOf(store.head);
      requireEtag(role, etag);
      const users = [...bindings.values()].filter((binding) => binding.roleId === roleId).length;
      if (users > 0)
        throw AppError.failedPrecondition(
          "ERR_AUTHZ_ROLE_BOUND",
          `${users} bindings have ${roleId}; delete them first`,
        );
      return store.write({ roles: without(roles, roleId) });
    },
    async createBinding({ roleId, subject, resource }, options) {
      await gate.enter("createBinding", options);
      const checks = new Checks().object(subject, "/subject");
      if (resource !== undefined) checks.object(resource, "/resource");
      checks.done();
      requireRole(store, roleId);
      const same = [...store.head.bindings.values()].find((one) => isSame(one, { roleId, subject, resource }));
      if (same !== undefined) return { binding: same, consistencyToken: store.tokenOf(store.head) };
      const id = bindingId(`b-${store.source.hex(8)}`);
      const binding: Binding = compact({
        bindingId: id,
        roleId,
        subject: compact({ ...subject }),
        resource,
        createdAt: store.source.now(),
      });
      return { binding, consistencyToken: store.write({ bindings: new Map([...store.head.bindings, [id, binding]]) }) };
    },
    async deleteBinding(id, options) {
      await gate.enter("deleteBinding", options);
      const { bindings } = store.head;
      return bindings.has(id) ? store.write({ bindings: without(bindings, id) }) : store.tokenOf(store.head);
    },
    listBindings: (query = {}, options) =>
      itemsOf((pageToken) => client.listBindingsPage({ ...query, pageToken }, options), query.pageToken),
    async listBindingsPage(query = {}, options) {
      await gate.enter("listBindingsPage", options);
      const state = store.read(query.consistency);
      return pageOf(
        [...state.bindings.values()].filter((binding) => hasAll(binding, query)),
        query,
      );
    },
  };
  return client;
}

function resultOf(ask: () => boolean): CheckResult {
  try {
    return { allowed: ask() };
  } catch (error) {
    const { code, message } = AppError.from(error);
    return { error: { code, message } };
  }
}

/** @throws AppError `ERR_AUTHZ_RELATIONSHIP_EXISTS`, `ERR_AUTHZ_CYCLE`. */
function applied(head: AuthzState, updates: readonly RelationshipUpdate[]): AuthzState["relationships"] {
  const relationships = new Map(head.relationships);
  for (const { operation, relationship } of updates) {
    checkRelationship(relationship, "/relationship");
    const key = relationshipKey(relationship);
    if (operation === "create" && relationships.has(key))
      throw AppError.alreadyExists("ERR_AUTHZ_RELATIONSHIP_EXISTS", `there is ${key} already`);
    if (operation === "delete") relationships.delete(key);
    else relationships.set(key, { ...relationship, subject: compact({ ...relationship.subject }) });
  }
  const graph = new AuthzGraph({ ...head, relationships });
  for (const { operation, relationship } of updates)
    if (operation !== "delete" && relationship.relation === "parent" && graph.isAboveItself(relationship.resource))
      throw AppError.failedPrecondition("ERR_AUTHZ_CYCLE", `${objectKey(relationship.resource)} would be above itself`);
  return relationships;
}

function stateFor(store: Store, query: RelationshipQuery & PageRequest): AuthzState {
  const start = startOf(query);
  if (start === undefined) return store.read(query.consistency);
  const state = store.stateOf(start.state);
  if (state === undefined) throw badPageToken();
  return state;
}

function fits(one: Parameters<typeof relationshipKey>[0], query: RelationshipQuery): boolean {
  const { resourceType, resourceId, relation, subject } = query;
  return (
    (resourceType === undefined || one.resource.type === resourceType) &&
    (resourceId === undefined || one.resource.id === resourceId) &&
    (relation === undefined || one.relation === relation) &&
    (subject === undefined || subjectKey(one.subject) === subjectKey(subject))
  );
}

function hasAll(binding: Binding, { roleId, subject, resource }: BindingQuery): boolean {
  return (
    (roleId === undefined || binding.roleId === roleId) &&
    (subject === undefined || subjectKey(binding.subject) === subjectKey(subject)) &&
    (resource === undefined || (binding.resource !== undefined && objectKey(binding.resource) === objectKey(resource)))
  );
}

function isSame(binding: Binding, { roleId, subject, resource }: Omit<Binding, "bindingId" | "createdAt">): boolean {
  return (
    hasAll(binding, { roleId, subject, resource }) && (binding.resource === undefined) === (resource === undefined)
  );
}

/** @throws AppError `ERR_AUTHZ_ROLE_NOT_FOUND`. */
function requireRole(store: Store, id: RoleId): Role {
  const role = store.head.roles.get(id);
  if (role === undefined) throw AppError.notFound("ERR_AUTHZ_ROLE_NOT_FOUND", `there is no role ${id}`);
  return role;
}

/** @throws AppError `ERR_AUTHZ_ETAG`. */
function requireEtag(role: Role, etag: string | undefined): void {
  if (etag === undefined || etag === role.etag) return;
  throw AppError.aborted("ERR_AUTHZ_ETAG", `${role.roleId} has changed since; read it again`);
}

function merged(role: Role, { description = role.description, permissions = role.permissions }: Partial<RoleChange>) {
  return { description, permissions };
}

function writeRole(store: Store, given: Role) {
  const permissions = [...new Set(given.permissions)].toSorted();
  const role: Role = { ...given, permissions, etag: store.source.hex(8) };
  const consistencyToken = store.write({ roles: new Map([...store.head.roles, [role.roleId, role]]) });
  return { role, consistencyToken };
}

function without<K, V>(map: ReadonlyMap<K, V>, key: K): ReadonlyMap<K, V> {
  const left = new Map(map);
  left.delete(key);
  return left;
}
