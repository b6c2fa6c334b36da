import { type ChannelOptions, connectivityState as states, experimental, type Metadata, status } from "@grpc/grpc-js";
import { instanceHeader } from "../instance.ts";

/** What is known of an address beside it. */
export interface InstanceFacts {
  /** Its share of the calls, from 1. */
  readonly weight: number;
  /** What calls to it carry in `plinth-instance`; undefined: nothing. */
  readonly identity: string | undefined;
}

/** The policy's name in a service config. */
export const policyName = "plinth";
/** From the resolver to the policy: a map from address to {@link InstanceFacts}. */
export const factsOption = `${experimental.SUBCHANNEL_ARGS_EXCLUDE_KEY_PREFIX}.plinth_instances`;

export function registerPolicy(): void {
  experimental.registerLoadBalancerType(policyName, PlinthBalancer, PlinthConfig);
}

class PlinthConfig implements experimental.TypedLoadBalancingConfig {
  static createFromJson(): PlinthConfig {
    return new PlinthConfig();
  }

  getLoadBalancerName(): string {
    return policyName;
  }

  toJsonObject(): object {
    return { [policyName]: {} };
  }
}

/** One address: its connection, and the calls on it. */
interface Child {
  readonly leaf: experimental.LeafLoadBalancer;
  facts: InstanceFacts;
  inFlight: number;
  /** Somebody else has its address, and says so: left out until the registry tells other instances, as long as there is another. */
  isMisdirected: boolean;
}

/**
 * Keeps a connection to every instance, and gives each call to the less loaded of two that were drawn by weight. Unlike the library's `round_robin`
 * it knows weights, keeps what stays when the set changes, and fails calls at once when the set is empty, which that would let wait.
 */
class PlinthBalancer implements experimental.LoadBalancer {
  readonly #helper: experimental.ChannelControlHelper;
  readonly #children = new Map<string, Child>();
  #lastError = "";
  #note = "";
  #isUpdating = false;

  constructor(helper: experimental.ChannelControlHelper) {
    this.#helper = helper;
  }

  updateAddressList(
    list: Parameters<experimental.LoadBalancer["updateAddressList"]>[0],
    config: experimental.TypedLoadBalancingConfig,
    options: ChannelOptions,
    note: string,
  ): boolean {
    if (!(config instanceof PlinthConfig)) return false;
    if (!list.ok) {
      if (this.#children.size === 0) this.#fail(list.error.details);
      return true; // else those known go on
    }
    this.#note = note;
    this.#isUpdating = true;
    const facts: unknown = options[factsOption];
    const gone = new Set(this.#children.keys());
    for (const child of this.#children.values()) child.isMisdirected = false;
    for (const endpoint of list.value) {
      const address = experimental.endpointToString(endpoint);
      gone.delete(address);
      const child = this.#children.get(address);
      if (child) child.facts = factsOf(facts, address);
      else this.#add(endpoint, address, factsOf(facts, address), options);
    }
    for (const address of gone) {
      this.#children.get(address)?.leaf.destroy();
      this.#children.delete(address);
    }
    this.#isUpdating = false;
    this.#report();
    return true;
  }

  exitIdle(): void {
    for (const { leaf } of this.#children.values()) if (leaf.getConnectivityState() === states.IDLE) leaf.exitIdle();
  }

  resetBackoff(): void {
    // the connections have theirs
  }

  destroy(): void {
    for (const { leaf } of this.#children.values()) leaf.destroy();
    this.#children.clear();
  }

  getTypeName(): string {
    return policyName;
  }

  #add(endpoint: experimental.Endpoint, address: string, facts: InstanceFacts, options: ChannelOptions): void {
    const helper = experimental.createChildChannelControlHelper(this.#helper, {
      updateState: (_state, _picker, error) => {
        if (error !== null) this.#lastError = error;
        this.#report();
      },
    });
    const leaf = new experimental.LeafLoadBalancer(endpoint, helper, options, "");
    this.#children.set(address, { leaf, facts, inFlight: 0, isMisdirected: false });
    leaf.startConnecting();
  }

  #report(): void {
    if (this.#isUpdating) return;
    const all = [...this.#children.values()];
    const ready = all.filter(({ leaf }) => leaf.getConnectivityState() === states.READY);
    const meant = ready.filter(({ isMisdirected }) => !isMisdirected);
    const picker = new PlinthPicker(meant.length > 0 ? meant : ready, (child) => this.#misdirect(child));
    if (ready.length > 0) this.#helper.updateState(states.READY, picker, null);
    else if (all.length === 0) this.#fail(this.#note);
    else if (all.every(({ leaf }) => leaf.getConnectivityState() === states.TRANSIENT_FAILURE))
      this.#fail(`No connection established. Last error: ${this.#lastError}`);
    else this.#helper.updateState(states.CONNECTING, new experimental.QueuePicker(this), null);
    this.exitIdle(); // what has lost its connection gets another
  }

  #misdirect(child: Child): void {
    if (child.isMisdirected) return;
    child.isMisdirected = true;
    this.#report();
  }

  #fail(details: string): void {
    this.#helper.updateState(states.TRANSIENT_FAILURE, new experimental.UnavailablePicker({ details }), details);
  }
}

class PlinthPicker implements experimental.Picker {
  readonly #children: readonly Child[];
  /** The sum of the weights up to and with each. */
  readonly #sums: readonly number[];
  readonly #total: number;
  readonly #onMisdirected: (child: Child) => void;

  constructor(children: readonly Child[], onMisdirected: (child: Child) => void) {
    let total = 0;
    this.#onMisdirected = onMisdirected;
    this.#children = children;
    this.#sums = children.map(({ facts }) => (total += facts.weight));
    this.#total = total;
  }

  pick(args: experimental.PickArgs): experimental.PickResult {
    const first = this.#draw();
    const second = this.#draw();
    const child = loadOf(second) < loadOf(first) ? second : first;
    const result = child.leaf.getPicker().pick(args);
    if (result.pickResultType !== experimental.PickResultType.COMPLETE) return result;
    const { identity } = child.facts;
    if (identity === undefined) args.metadata.remove(instanceHeader);
    else args.metadata.set(instanceHeader, identity);
    return {
      ...result,
      onCallStarted: () => {
        child.inFlight++;
        result.onCallStarted?.();
      },
      onCallEnded: (code, details, metadata) => {
        child.inFlight--;
        if (identity !== undefined && code === status.UNAVAILABLE && saysMisdirected(metadata))
          this.#onMisdirected(child);
        result.onCallEnded?.(code, details, metadata);
      },
    };
  }

  /** One by chance, each as often as its weight says. */
  #draw(): Child {
    const at = Math.random() * this.#total;
    let low = 0;
    let high = this.#sums.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (at < (this.#sums[middle] ?? 0)) high = middle;
      else low = middle + 1;
    }
    const child = this.#children[low];
    if (!child) throw new RangeError("a picker of nothing");
    return child;
  }
}

/** The code stands as it is in the bytes of the details, which nobody else reads here. */
function saysMisdirected(metadata: Metadata): boolean {
  return metadata.get("grpc-status-details-bin").some((bytes) => bytes.includes("ERR_MISDIRECTED"));
}

function loadOf({ inFlight, facts }: Child): number {
  return inFlight / facts.weight;
}

function factsOf(facts: unknown, address: string): InstanceFacts {
  const known: unknown = facts instanceof Map ? facts.get(address) : undefined;
  return isFacts(known) ? known : { weight: 1, identity: undefined };
}

function isFacts(value: unknown): value is InstanceFacts {
  return typeof value === "object" && value !== null && "weight" in value && typeof value.weight === "number";
}
