// Between the messages of plinth.authz.v1 and plain values.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { compact, invalid, mapValue, required, requestWord, textOf, toDate, toTimestamp, wordsOf } from "../convert.ts";
import {
  type Binding as BindingMessage,
  type BindingSchema,
  type CheckItem as CheckItemMessage,
  type CheckItemSchema,
  type CheckResult as CheckResultMessage,
  type CheckResultSchema,
  type Consistency as ConsistencyMessage,
  type ConsistencySchema,
  type ObjectRef as ObjectMessage,
  type ObjectRefSchema,
  type Relationship as RelationshipMessage,
  type RelationshipSchema,
  type RelationshipUpdate as UpdateMessage,
  type RelationshipUpdateSchema,
  type Role as RoleMessage,
  type RoleSchema,
  type SubjectRef as SubjectMessage,
  type SubjectRefSchema,
  type UpdateRoleRequest,
  type UpdateRoleRequestSchema,
  UpdateOperation,
} from "../gen/plinth/authz/v1/authz_pb.ts";
import { bindingId, roleId } from "../ids.ts";
import type {
  Binding,
  CheckItem,
  CheckResult,
  Consistency,
  ObjectRef,
  Relationship,
  RelationshipUpdate,
  Role,
  RoleChange,
  SubjectRef,
} from "./types.ts";

export function toObjectMessage({ type, id }: ObjectRef): MessageInitShape<typeof ObjectRefSchema> {
  return { type, id };
}

export function fromObjectMessage(given: ObjectMessage | undefined, pointer: string): ObjectRef {
  const { type, id } = required(given, pointer);
  return { type, id };
}

export function toSubjectMessage({ type, id, relation = "" }: SubjectRef): MessageInitShape<typeof SubjectRefSchema> {
  return { object: { type, id }, relation };
}

export function fromSubjectMessage(given: SubjectMessage | undefined, pointer: string): SubjectRef {
  const { object, relation } = required(given, pointer);
  return compact({ ...fromObjectMessage(object, `${pointer}/object`), relation: textOf(relation) });
}

export function toRelationshipMessage(relationship: Relationship): MessageInitShape<typeof RelationshipSchema> {
  const { resource, relation, subject } = relationship;
  return { resource: toObjectMessage(resource), relation, subject: toSubjectMessage(subject) };
}

export function fromRelationshipMessage(
  given: RelationshipMessage | undefined,
  pointer = "/relationship",
): Relationship {
  const { resource, relation, subject } = required(given, pointer);
  return {
    resource: fromObjectMessage(resource, `${pointer}/resource`),
    relation,
    subject: fromSubjectMessage(subject, `${pointer}/subject`),
  };
}

export function toConsistencyMessage(
  consistency: Consistency | undefined,
): MessageInitShape<typeof ConsistencySchema> | undefined {
  if (consistency === undefined) return undefined;
  if (consistency === "minimizeLatency") return { requirement: { case: "minimizeLatency", value: true } };
  if (consistency === "full") return { requirement: { case: "fullyConsistent", value: true } };
  return { requirement: { case: "atLeastAsFresh", value: consistency.atLeastAsFresh } };
}

/** A requirement that is false requires nothing. */
export function fromConsistencyMessage(given: ConsistencyMessage | undefined): Consistency | undefined {
  const requirement = given?.requirement;
  if (requirement?.case === "atLeastAsFresh") return { atLeastAsFresh: requirement.value };
  if (requirement?.case === "fullyConsistent" && requirement.value) return "full";
  return requirement?.case === undefined ? undefined : "minimizeLatency";
}

export function toItemMessage(item: CheckItem): MessageInitShape<typeof CheckItemSchema> {
  const { subject, resource } = item;
  return {
    subject: toObjectMessage(subject),
    resource: toObjectMessage(resource),
    question:
      item.permission === undefined
        ? { case: "relation", value: item.relation }
        : { case: "permission", value: item.permission },
  };
}

export function fromItemMessage(given: CheckItemMessage | undefined, pointer = "/item"): CheckItem {
  const { subject, resource, question } = required(given, pointer);
  const about = {
    subject: fromObjectMessage(subject, `${pointer}/subject`),
    resource: fromObjectMessage(resource, `${pointer}/resource`),
  };
  if (question.case === "permission") return { ...about, permission: question.value };
  if (question.case === "relation") return { ...about, relation: question.value };
  throw invalid(pointer, "must ask for a permission or a relation");
}

export function toResultMessage(result: CheckResult): MessageInitShape<typeof CheckResultSchema> {
  return {
    outcome:
      result.error === undefined
        ? { case: "allowed", value: result.allowed }
        : { case: "error", value: { code: result.error.code, message: result.error.message } },
  };
}

export function fromResultMessage({ outcome }: CheckResultMessage): CheckResult {
  if (outcome.case === "allowed") return { allowed: outcome.value };
  const { code, message } = required(outcome.value, "/results/outcome");
  return { error: { code, message } };
}

const operations = wordsOf(
  { create: UpdateOperation.CREATE, touch: UpdateOperation.TOUCH, delete: UpdateOperation.DELETE },
  UpdateOperation.UNSPECIFIED,
);

export function toUpdateMessage(update: RelationshipUpdate): MessageInitShape<typeof RelationshipUpdateSchema> {
  return {
    operation: operations.toNumber(update.operation),
    relationship: toRelationshipMessage(update.relationship),
  };
}

export function fromUpdateMessage(update: UpdateMessage, at: number): RelationshipUpdate {
  const pointer = `/updates/${at}`;
  return {
    operation: required(requestWord(operations, update.operation, `${pointer}/operation`), `${pointer}/operation`),
    relationship: fromRelationshipMessage(update.relationship, `${pointer}/relationship`),
  };
}

export function toRoleMessage(role: Role): MessageInitShape<typeof RoleSchema> {
  const { createdAt, updatedAt, permissions, ...rest } = role;
  return {
    ...rest,
    permissions: [...permissions],
    createdAt: toTimestamp(createdAt),
    updatedAt: toTimestamp(updatedAt),
  };
}

export function fromRoleMessage(given: RoleMessage | undefined): Role {
  const role = required(given, "/role");
  return {
    roleId: roleId(role.roleId),
    description: role.description,
    permissions: [...role.permissions],
    createdAt: toDate(required(role.createdAt, "/role/created_at")),
    updatedAt: toDate(required(role.updatedAt, "/role/updated_at")),
    etag: role.etag,
  };
}

export function toUpdateRoleRequest(change: RoleChange): MessageInitShape<typeof UpdateRoleRequestSchema> {
  const { roleId, description, permissions, etag = "" } = change;
  return {
    role: { roleId, etag, description: description ?? "", permissions: [...(permissions ?? [])] },
    updateMask: {
      paths: [
        ...(description === undefined ? [] : ["description"]),
        ...(permissions === undefined ? [] : ["permissions"]),
      ],
    },
  };
}

/** @throws RequestError for a mask that is empty, or names what cannot be changed. */
export function fromUpdateRoleRequest({ role: given, updateMask }: UpdateRoleRequest): RoleChange {
  const role = required(given, "/role");
  const paths = updateMask?.paths ?? [];
  if (paths.length === 0) throw invalid("/update_mask", "must name a field");
  if (paths.some((path) => path !== "description" && path !== "permissions"))
    throw invalid("/update_mask", "names what is not one of description, permissions");
  return compact({
    roleId: roleId(role.roleId),
    description: paths.includes("description") ? role.description : undefined,
    permissions: paths.includes("permissions") ? [...role.permissions] : undefined,
    etag: textOf(role.etag),
  });
}

export function toBindingMessage(binding: Binding): MessageInitShape<typeof BindingSchema> {
  const { bindingId, roleId, subject, resource, createdAt } = binding;
  return {
    bindingId,
    roleId,
    subject: toSubjectMessage(subject),
    resource: mapValue(resource, toObjectMessage),
    createdAt: toTimestamp(createdAt),
  };
}

export function fromBindingMessage(given: BindingMessage | undefined): Binding {
  const binding = required(given, "/binding");
  return compact({
    bindingId: bindingId(binding.bindingId),
    roleId: roleId(binding.roleId),
    subject: fromSubjectMessage(binding.subject, "/binding/subject"),
    resource: mapValue(binding.resource, (resource) => fromObjectMessage(resource, "/binding/resource")),
    createdAt: toDate(required(binding.createdAt, "/binding/created_at")),
  });
}
