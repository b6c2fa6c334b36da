import type { CheckItem, Relationship, RelationshipQuery, RelationshipUpdate } from "../authz/types.ts";
import { relationshipKey } from "./authz-graph.ts";
import { Checks } from "./checks.ts";

const relationPattern = /^[a-z][a-z0-9_]{0,63}$/;
const permissionPattern = /^[a-z0-9_.:-]{1,128}$/;
const relationRule = "must be a letter of a–z and up to 63 of a–z 0–9 _";
const permissionRule = "must be 1 to 128 of a–z 0–9 _ . : -";

/** @throws RequestError */
export function checkItem(item: CheckItem, pointer: string): void {
  const { subject, resource, permission, relation } = item;
  const checks = new Checks().object(subject, `${pointer}/subject`).object(resource, `${pointer}/resource`);
  if (permission !== undefined)
    checks.that(permissionPattern.test(permission), `${pointer}/permission`, permissionRule);
  if (relation !== undefined) checks.that(relationPattern.test(relation), `${pointer}/relation`, relationRule);
  checks.done();
}

/** @throws RequestError */
export function checkRelationship({ resource, relation, subject }: Relationship, pointer: string): void {
  new Checks()
    .object(resource, `${pointer}/resource`)
    .that(relationPattern.test(relation), `${pointer}/relation`, relationRule)
    .object(subject, `${pointer}/subject`)
    .that(
      subject.relation === undefined || (relation !== "parent" && relationPattern.test(subject.relation)),
      `${pointer}/subject/relation`,
      relation === "parent" ? "must be absent: what is above an object is no set" : relationRule,
    )
    .done();
}

/** @throws RequestError */
export function checkUpdates(updates: readonly RelationshipUpdate[]): void {
  new Checks().size(updates.length, "/updates", { min: 1, max: 500 }).done();
  for (const [at, { relationship }] of updates.entries())
    checkRelationship(relationship, `/updates/${at}/relationship`);
  const keys = new Set(updates.map(({ relationship }) => relationshipKey(relationship)));
  new Checks().that(keys.size === updates.length, "/updates", "must not change the same relationship twice").done();
}

/** @throws RequestError */
export function checkPermissions(permissions: readonly string[], description: string): void {
  const checks = new Checks().length(description, "/description", { max: 500 });
  checks.size(permissions.length, "/permissions", { max: 500 });
  for (const [at, permission] of permissions.entries())
    checks.that(permissionPattern.test(permission), `/permissions/${at}`, permissionRule);
  checks.done();
}

/** @throws RequestError */
export function checkQuery({ resourceType, resourceId }: RelationshipQuery): void {
  const isWhole = resourceId === undefined || resourceType !== undefined;
  new Checks().that(isWhole, "/resource_type", "is required where there is a resource_id").done();
}
