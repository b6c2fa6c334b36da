import type { CallOptions } from "../calls.ts";
import type { BindingId, RoleId } from "../ids.ts";
import type { Page, PageRequest } from "../pages.ts";

/** Something that can be asked about, and somebody who can: `{ type: "note", id: "1" }`. */
export interface ObjectRef {
  /** 1 to 64 of `a–z 0–9 _`, a letter first. */
  readonly type: string;
  /** As all ids: 1 to 128 of `A–Z a–z 0–9 . _ : ~ @ | -`. */
  readonly id: string;
}

/** Somebody; with a relation, everybody who stands in it to the object: `group:writers#member`. */
export interface SubjectRef extends ObjectRef {
  readonly relation?: string | undefined;
}

export interface Relationship {
  readonly resource: ObjectRef;
  /** `parent` tells what is above the object. */
  readonly relation: string;
  readonly subject: SubjectRef;
}

/** Names a state of the service: opaque, and compared by it alone. Keep it with what the write was about. */
export type ConsistencyToken = string;

/**
 * How old an answer may be: `minimizeLatency` (default), seconds; `full`, not at all, which is slow; or no older than the write that gave
 * this token.
 */
export type Consistency = "minimizeLatency" | "full" | { readonly atLeastAsFresh: ConsistencyToken };

/** One question: has the subject a permission on the object, or does it stand in a relation to it? */
export type CheckItem = {
  readonly subject: ObjectRef;
  readonly resource: ObjectRef;
} & (
  | { readonly permission: string; readonly relation?: undefined }
  | { readonly relation: string; readonly permission?: undefined }
);

export interface WithConsistency {
  /** Default `minimizeLatency`. */
  readonly consistency?: Consistency | undefined;
}

export interface CheckAnswer {
  readonly allowed: boolean;
  /** The state that the answer is of. */
  readonly consistencyToken: ConsistencyToken;
}

export interface BatchAnswer {
  /** In the order of the questions, as many as those. */
  readonly results: readonly CheckResult[];
  readonly consistencyToken: ConsistencyToken;
}

/** Where there is an error, nothing is known: deny. */
export type CheckResult =
  | { readonly allowed: boolean; readonly error?: undefined }
  | { readonly allowed?: undefined; readonly error: { readonly code: string; readonly message: string } };

export interface PermissionList {
  /** Sorted. */
  readonly permissions: readonly string[];
  readonly consistencyToken: ConsistencyToken;
}

export interface RelationshipUpdate {
  /** `create` fails when it is there, `touch` and `delete` never. */
  readonly operation: "create" | "touch" | "delete";
  readonly relationship: Relationship;
}

/** What is absent fits all. */
export interface RelationshipQuery extends WithConsistency {
  readonly resourceType?: string | undefined;
  /** Needs a type. */
  readonly resourceId?: string | undefined;
  readonly relation?: string | undefined;
  readonly subject?: SubjectRef | undefined;
}

export interface Role {
  readonly roleId: RoleId;
  readonly description: string;
  /** Sorted. */
  readonly permissions: readonly string[];
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** Another one after each change. */
  readonly etag: string;
}

export interface NewRole {
  readonly roleId: RoleId;
  /** 0 to 500 characters. Default empty. */
  readonly description?: string | undefined;
  /** At most 500: 1 to 128 of `a–z 0–9 _ . : -` each. */
  readonly permissions: readonly string[];
}

/** What is there is changed. */
export interface RoleChange {
  readonly roleId: RoleId;
  readonly description?: string | undefined;
  readonly permissions?: readonly string[] | undefined;
  /** Only this state of the role is changed. Absent: any. */
  readonly etag?: string | undefined;
}

export interface Binding {
  readonly bindingId: BindingId;
  readonly roleId: RoleId;
  readonly subject: SubjectRef;
  /** On this and all below it. Absent: everywhere. */
  readonly resource?: ObjectRef | undefined;
  readonly createdAt: Date;
}

export type NewBinding = Pick<Binding, "roleId" | "subject" | "resource">;

/** What is absent fits all. */
export interface BindingQuery extends WithConsistency {
  readonly roleId?: RoleId | undefined;
  readonly subject?: SubjectRef | undefined;
  readonly resource?: ObjectRef | undefined;
}

/** What was written, and the state with it. */
export type Written<T> = T & { readonly consistencyToken: ConsistencyToken };

export interface DeleteRole {
  readonly roleId: RoleId;
  readonly etag?: string | undefined;
}

/**
 * Answers who may do what: `plinth.authz.v1`, whose comments say who may call what. Errors have the codes of {@link authzErrors}; all
 * that take a consistency may fail with `ERR_AUTHZ_CONSISTENCY_TOKEN`. Who gets an error knows nothing, and denies.
 */
export interface AuthzClient {
  /** @throws `ERR_AUTHZ_DEPTH`. */
  check(question: CheckItem & WithConsistency, options?: CallOptions): Promise<CheckAnswer>;
  /** 1 to 100 questions on one state. */
  batchCheck(
    request: WithConsistency & { readonly items: readonly CheckItem[] },
    options?: CallOptions,
  ): Promise<BatchAnswer>;
  /** @throws `ERR_AUTHZ_DEPTH`. */
  listPermissions(
    request: WithConsistency & { readonly subject: ObjectRef; readonly resource: ObjectRef },
    options?: CallOptions,
  ): Promise<PermissionList>;
  /** 1 to 500 changes, all or none. @throws `ERR_AUTHZ_RELATIONSHIP_EXISTS`, `ERR_AUTHZ_CYCLE`. */
  writeRelationships(updates: readonly RelationshipUpdate[], options?: CallOptions): Promise<ConsistencyToken>;
  /** All that fit, page by page. @throws `ERR_PAGE_TOKEN`. */
  listRelationships(query?: RelationshipQuery & PageRequest, options?: CallOptions): AsyncIterable<Relationship>;
  /** @throws `ERR_PAGE_TOKEN`. */
  listRelationshipsPage(
    query?: RelationshipQuery & PageRequest,
    options?: CallOptions,
  ): Promise<Written<Page<Relationship>>>;
  /** @throws `ERR_AUTHZ_ROLE_EXISTS`. */
  createRole(role: NewRole, options?: CallOptions): Promise<Written<{ readonly role: Role }>>;
  /** @throws `ERR_AUTHZ_ROLE_NOT_FOUND`. */
  getRole(roleId: RoleId, options?: CallOptions): Promise<Role>;
  /** By their ids, page by page. @throws `ERR_PAGE_TOKEN`. */
  listRoles(request?: PageRequest, options?: CallOptions): AsyncIterable<Role>;
  /** @throws `ERR_PAGE_TOKEN`. */
  listRolesPage(request?: PageRequest, options?: CallOptions): Promise<Page<Role>>;
  /** @throws `ERR_AUTHZ_ROLE_NOT_FOUND`, `ERR_AUTHZ_ETAG`. */
  updateRole(change: RoleChange, options?: CallOptions): Promise<Written<{ readonly role: Role }>>;
  /** @throws `ERR_AUTHZ_ROLE_BOUND`, `ERR_AUTHZ_ETAG`. */
  deleteRole(request: DeleteRole, options?: CallOptions): Promise<ConsistencyToken>;
  /** @throws `ERR_AUTHZ_ROLE_NOT_FOUND`. */
  createBinding(binding: NewBinding, options?: CallOptions): Promise<Written<{ readonly binding: Binding }>>;
  deleteBinding(bindingId: BindingId, options?: CallOptions): Promise<ConsistencyToken>;
  /** The oldest first, page by page. @throws `ERR_PAGE_TOKEN`. */
  listBindings(query?: BindingQuery & PageRequest, options?: CallOptions): AsyncIterable<Binding>;
  /** @throws `ERR_PAGE_TOKEN`. */
  listBindingsPage(query?: BindingQuery & PageRequest, options?: CallOptions): Promise<Page<Binding>>;
}
