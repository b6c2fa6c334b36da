import { AppError } from "@plinth/kernel";
import type { BindingId, RoleId } from "../ids.ts";
import type { Binding, CheckItem, ObjectRef, Relationship, Role, SubjectRef } from "../authz/types.ts";

/** All that Authz knows at one moment. Never changed: a write makes another one. */
export interface AuthzState {
  readonly revision: number;
  /** By {@link relationshipKey}. */
  readonly relationships: ReadonlyMap<string, Relationship>;
  readonly roles: ReadonlyMap<RoleId, Role>;
  readonly bindings: ReadonlyMap<BindingId, Binding>;
}

export function objectKey({ type, id }: ObjectRef): string {
  return `${type}:${id}`;
}

export function subjectKey(subject: SubjectRef): string {
  return subject.relation === undefined ? objectKey(subject) : `${objectKey(subject)}#${subject.relation}`;
}

export function relationshipKey({ resource, relation, subject }: Relationship): string {
  return `${objectKey(resource)}#${relation} ${subjectKey(subject)}`;
}

/** How deep sets may be in sets, and objects below objects. */
const maxDepth = 32;

/** Answers questions on one state. */
export class AuthzGraph {
  readonly #state: AuthzState;
  /** Who stands in a relation to an object, by `type:id#relation`. */
  readonly #subjects = new Map<string, SubjectRef[]>();

  constructor(state: AuthzState) {
    this.#state = state;
    for (const { resource, relation, subject } of state.relationships.values()) {
      const key = `${objectKey(resource)}#${relation}`;
      const found = this.#subjects.get(key);
      if (found === undefined) this.#subjects.set(key, [subject]);
      else found.push(subject);
    }
  }

  /** @throws AppError `ERR_AUTHZ_DEPTH`. */
  allows(item: CheckItem): boolean {
    if (item.relation !== undefined) return this.#isIn({ ...item.resource, relation: item.relation }, item.subject);
    const { permission } = item;
    return this.#rolesOf(item.subject, item.resource).some(({ permissions }) => permissions.includes(permission));
  }

  /** Sorted. @throws AppError `ERR_AUTHZ_DEPTH`. */
  permissions(subject: ObjectRef, resource: ObjectRef): string[] {
    return [...new Set(this.#rolesOf(subject, resource).flatMap(({ permissions }) => permissions))].toSorted();
  }

  /** Whether an object is above itself. */
  isAboveItself(object: ObjectRef): boolean {
    const first = this.#parentsOf([objectKey(object)]);
    return walk(first, (keys) => this.#parentsOf(keys), Infinity).has(objectKey(object));
  }

  #rolesOf(subject: ObjectRef, resource: ObjectRef): Role[] {
    const scopes = walk([objectKey(resource)], (keys) => this.#parentsOf(keys));
    const applies = ({ resource }: Binding): boolean => resource === undefined || scopes.has(objectKey(resource));
    const bindings = [...this.#state.bindings.values()].filter((binding) => applies(binding));
    const roles = bindings.filter((binding) => this.#isIn(binding.subject, subject)).map(({ roleId }) => roleId);
    return [...new Set(roles)].flatMap((id) => this.#state.roles.get(id) ?? []);
  }

  #parentsOf(keys: readonly string[]): string[] {
    return keys.flatMap((key) => this.#subjects.get(`${key}#parent`) ?? []).map(objectKey);
  }

  /** Whether the subject is the object, or in the set. */
  #isIn(set: SubjectRef, subject: ObjectRef): boolean {
    if (set.relation === undefined) return objectKey(set) === objectKey(subject);
    const wanted = objectKey(subject);
    const membersOf = (keys: readonly string[]): SubjectRef[] => keys.flatMap((key) => this.#subjects.get(key) ?? []);
    const sets = walk([subjectKey(set)], (keys) =>
      membersOf(keys)
        .filter(({ relation }) => relation !== undefined)
        .map(subjectKey),
    );
    return membersOf([...sets]).some((member) => member.relation === undefined && objectKey(member) === wanted);
  }
}

/**
 * All that can be reached from `first`, those included, the nearest before the farther.
 * @throws AppError `ERR_AUTHZ_DEPTH`.
 */
function walk(
  first: readonly string[],
  next: (keys: readonly string[]) => readonly string[],
  depth = maxDepth,
): ReadonlySet<string> {
  const seen = new Set(first);
  let edge = first;
  for (let step = 0; edge.length > 0; step++) {
    if (step > depth)
      throw AppError.failedPrecondition("ERR_AUTHZ_DEPTH", `sets or parents go deeper than ${maxDepth}`);
    edge = [...new Set(next(edge))].filter((key) => !seen.has(key));
    for (const key of edge) seen.add(key);
  }
  return seen;
}
