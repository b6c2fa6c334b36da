/** An endpoint by which a module tells operators of itself: read only, as JSON. */
export interface OpsRoute {
  /** Such as `/routes`; that of no other. */
  readonly path: string;
  /**
   * What is told. Called for those alone who have the ops token, or ask on this machine a listener that is for it alone.
   * @param query - Parameters of the request.
   * @throws {@link TransportError} for a question that makes no sense; who asks gets its message.
   */
  readonly answer: (query: URLSearchParams) => unknown;
}

/** The endpoints of modules beside `/healthz`, `/ready` and `/metrics`. */
export class OpsRoutes {
  readonly #byPath = new Map<string, OpsRoute>();

  /** @returns Takes it away again; safe to call twice. */
  add(route: OpsRoute): () => void {
    this.#byPath.set(route.path, route);
    return () => {
      if (this.#byPath.get(route.path) === route) this.#byPath.delete(route.path);
    };
  }

  find(path: string): OpsRoute | undefined {
    return this.#byPath.get(path);
  }
}
