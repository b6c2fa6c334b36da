/** Which part of a large fleet one client talks to. */
export interface SubsetOptions {
  /** Members to talk to, 1 or more; all when there are no more. */
  readonly size: number;
  /**
   * Who asks. By a name, unique for each client: each draws for itself, and a change of the fleet changes at most one member. By a
   * position among the clients, counted from 0: members are shared out evenly.
   */
  readonly client: string | number;
}
