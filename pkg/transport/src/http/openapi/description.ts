/** What the OpenAPI document says of a route beside its schemas. */
export interface RouteDescription {
  /** Unique in the document. Default: made of method and path, `getNotesId`. */
  readonly operationId?: string;
  readonly summary?: string;
  /** May be CommonMark. */
  readonly description?: string;
  readonly tags?: readonly string[];
  readonly deprecated?: boolean;
}

declare module "fastify" {
  interface FastifyContextConfig {
    /** For the OpenAPI document; `false` leaves the route out of it. */
    readonly openapi?: RouteDescription | false;
  }
}
