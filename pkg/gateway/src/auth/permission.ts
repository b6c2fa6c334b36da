import type { AuthzClient, CheckItem } from "@plinth/services";
import { type AuthorizeConfig, segmentName } from "../config/schema-auth-services.ts";
import { decodeSegment, type Pattern } from "../router/pattern.ts";

type ObjectRef = CheckItem["resource"];

/** What Authz takes for an id. */
const idShape = /^[A-Za-z0-9._:~@|-]{1,128}$/;

/** What of Authz is needed. */
export type PermissionClient = Pick<AuthzClient, "check">;

/** The question that a route asks about each of its callers. */
export class Permission {
  readonly #config: AuthorizeConfig;
  readonly #subjectType: string;
  /** Where the id of the resource stands in the path, from 0, by pattern; empty for one that stands in the document. */
  readonly #places: ReadonlyMap<string, number>;

  constructor(config: AuthorizeConfig, patterns: readonly Pattern[], subjectType: string) {
    this.#config = config;
    this.#subjectType = subjectType;
    const name = segmentName(config.resource.id);
    this.#places = new Map(
      patterns.flatMap(({ text, free }) => {
        const segment = free.find((one) => one.name === name);
        return segment ? [[text, segment.index] as const] : [];
      }),
    );
  }

  /**
   * @param path - Canonical, matched by the pattern `template`.
   * @returns Undefined where there is no such resource or subject, whoever is asked: their ids hold what no id may.
   */
  questionOf(subject: string, template: string, path: string): CheckItem | undefined {
    const { permission, relation, resource } = this.#config;
    const place = this.#places.get(template);
    const id = place === undefined ? resource.id : decodeSegment(path.split("/")[place + 1] ?? "");
    if (!idShape.test(id) || !idShape.test(subject)) return undefined;
    const about: { readonly subject: ObjectRef; readonly resource: ObjectRef } = {
      subject: { type: this.#subjectType, id: subject },
      resource: { type: resource.type, id },
    };
    if (permission !== undefined) return { ...about, permission };
    return relation === undefined ? undefined : { ...about, relation };
  }
}
