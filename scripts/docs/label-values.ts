// What values the labels of metrics have: small sets, in words. Each label of each metric has its own here, or those of all metrics that begin alike.
import { code } from "./tables.ts";

const yesNo = "`ok`, `failed`";
const canonical = "canonical status: `ok`, `not_found`, `unavailable` …";
const httpMethod = "HTTP method, else `_OTHER`";
const httpStatus = "HTTP status; `499` when the client left; else `_OTHER`";
const rpcMethod = "`package.Service/Method`, else `unmatched`";

/** By the beginning of the metric's name, the label, and its values. The longest beginning counts. */
const values: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  app_config_reloads: { outcome: "`changed`, `unchanged`, `refused`" },
  app_hook: { provider: "provider's name", hook: "`create`, `start`, `join`, `leave`, `drain`, `stop`" },
  app_info: {
    service: "app's name",
    version: "app's version",
    revision: "`PLINTH_REVISION`, empty when not set",
    node: "Node's version",
    plinth: "Plinth's version",
  },
  app_state: { state: "`starting`, `ready`, `draining`, `stopping`, `stopped`, `failed`" },
  audit_recorder_lost_events: {
    reason: "`full`, `expired`, `refused`, `closed`, `spill_failed`, `spill_damaged`",
  },
  auth_key_set_unknown_keys: {
    issuer: "name of the token issuer in the section `auth`",
    outcome:
      "`asked` (the issuer was), `missing` (it had not that key a short while ago), `cooldown` and `budget` (too many were asked for)",
  },
  auth_key_set: { issuer: "name of the token issuer in the section `auth`", outcome: yesNo },
  auth_token_refusals: {
    reason:
      "`malformed`, `header`, `algorithm`, `type`, `key_unknown`, `signature`, `issuer`, `audience`, `subject`, `scope`, `expiry_missing`, `expired`, `not_yet_valid`, `keys_unavailable`",
  },
  database: { database: "name of the database: `main`, or what `defineDatabase` was given" },
  database_connect: { outcome: "`ok`, `error`, `cancelled`, `timeout`, `unavailable`" },
  database_connections_closed: { reason: "`idle`, `lifetime`, `unclean`, `lost`, `failover`, `shutdown`" },
  database_errors: { code: "[error code](errors.md#database)" },
  database_pool: { state: "`in_use`, `idle`, `opening`" },
  database_query: {
    operation: "first word of the statement, `SELECT` …, else `OTHER`",
    outcome: "`ok`, `error`, `cancelled`, `timeout`, `unavailable`",
  },
  database_transaction: { outcome: "`committed`, `rolled_back`, `failed`" },
  errors: {
    outcome: yesNo,
    reporter: "reporter's name",
    origin: "`request`, `rpc`, `job`, `timer`, `process`, `lifecycle`, `stream`",
    code: "[error code](errors.md)",
  },
  gateway_access_log_lines: { outcome: "`written`, `sampled_out`, `not_slow` (faster than `slowOnlyMs`)" },
  gateway_compressed_replies: { coding: "`gzip`, `br`, `zstd`, `busy` (sent as it is)" },
  gateway_connections_refused: { reason: "`total` (`maxConnections`), `address` (`maxConnectionsPerAddress`)" },
  gateway_document_reloads: { outcome: "`changed`, `unchanged`, `refused`" },
  gateway_plugin: { plugin: "name of the plugin", hook: "`onRequest`, `onReply`" },
  gateway_plugin_calls: {
    outcome: "`passed`, `replied`, `rejected`, `failed` (it threw), `timeout`, `aborted` (the client left)",
  },
  gateway_revocation_reloads: { outcome: "`changed`, `refused`" },
  gateway_revocation_rounds: {
    outcome:
      "`ok`, `failed` (no answer in time, or none), and beside them for what a round could not take: `full` (there are too many), `unreadable` (in the store is what is no revocation)",
  },
  gateway_jwks_unknown_keys: {
    provider: "name of the token provider in the gateway's config",
    outcome:
      "`asked` (the issuer was), `missing` (it had not that key a short while ago), `cooldown` and `budget` (too many were asked for)",
  },
  gateway_jwks: { provider: "name of the token provider in the gateway's config", outcome: yesNo },
  gateway_slow_clients: { at: "`body` (it came too slowly), `reply` (it was not taken)" },
  gateway_http2_floods: { kind: "`reset`, `ping`, `settings`" },
  gateway_malformed: { reason: "[reason](reasons.md)" },
  gateway_concurrency: { route: "name of the route in the gateway's config" },
  gateway_proxy_headers: {
    outcome:
      "`taken`, `local` (the balancer for itself, or it does not know), `invalid`, `timeout`, `none` (closed before)",
  },
  gateway_rate_limit_events: {
    policy: "name of the rate limit, or of the route that has it",
    event: "`refused`, `shadow` (would have), `unavailable` (its store), `share` (decided by this gateway alone)",
  },
  gateway_rate_limit: { policy: "name of the rate limit in the gateway's config" },
  gateway_request: {
    route: "name of the route in the gateway's config, else `unmatched`",
    method: httpMethod,
    status_class: "`1xx` to `5xx`, else `other`",
    reason: "[reason](reasons.md), `none` for replies of services",
  },
  gateway_upstream: {
    service: "name of the service in the gateway's config",
    state: "`in_use`, `ejected` (for what its requests met), `failing_probes`",
    outcome:
      "`reply`, `aborted`, `unreachable`, `misdirected`, `refused`, `connect_timeout`, `untrusted`, `busy`, `timeout`, `reset`, `stalled`, `invalid`, `unsendable`",
  },
  gateway_upstream_breakers: {
    service: "name of the service in the gateway's config",
    state: "`open`, `recovering`",
  },
  gateway_upstream_hedges: {
    service: "name of the service in the gateway's config",
    outcome: "`won` (the client has its reply), `lost`, `failed`",
  },
  gateway_upstream_probes: {
    service: "name of the service in the gateway's config",
    outcome: "`passed`, `failed`",
  },
  gateway_websocket: { route: "name of the route in the gateway's config", from: "`client`, `instance`" },
  gateway_websockets: { route: "name of the route in the gateway's config" },
  grpc_client: { peer: "name that the caller gives to the other side", method: rpcMethod, status: canonical },
  grpc_server: { method: rpcMethod, status: canonical, direction: "`received`, `sent`" },
  health_check: { check: "check's name" },
  grpc_server_refused_connections: { reason: "`certificate`, `silent`, `pings`, `reset`, `settings`" },
  http_client: {
    peer: "name that the caller gives to the other side",
    method: httpMethod,
    status: "HTTP status, else `_OTHER`; `cancelled`, `timeout`, `unreachable`, `reset`, `failed` where none came",
  },
  http_server: {
    method: httpMethod,
    route: "template of the route, path of the RPC, else `unmatched`",
    status: httpStatus,
  },
  http_server_http2: { kind: "`reset`, `ping`, `settings`" },
  metrics: { metric: "metric's name" },
  process_active: { type: "kind of resource, `TCPSocketWrap`, `Timeout` …" },
  process_event_loop: { stat: "`mean`, `p50`, `p99`, `max`", state: "`active`, `idle`" },
  process_gc: { kind: "`minor`, `major`, `incremental`, `weak_callbacks`" },
  process_heap: { space: "V8's name of the space, `new_space`, `old_space` …" },
  registry: {
    service: "name of a followed service",
    state: "`pending`, `registered`, `maintenance`, `lost`",
    operation:
      "`register`, `update`, `maintenance`, `deregister`, `heartbeat`, `inspect`, `instances`, `services`, `agent`, `leader`, `kv`, `watch`",
    outcome:
      "`ok`, `denied`, `not_found`, `rejected`, `unavailable`, `unreachable`, `timeout`, `cancelled`, `unreadable`",
  },
  registry_instances_by_state: {
    service: "name of a followed service",
    state: "`passing`, `warning`, `critical`, `maintenance`",
  },
  registry_snapshot: { outcome: "`ok`, `failed`" },
  error_sentry: { outcome: "`sent`, `sampled_out`, `paused`, `failed`" },
  error_webhook: {
    outcome: "`sent`, `refused`, `failed`, `paused`, `aborted`",
    status: "`1xx` to `5xx`, `none` where no answer came",
  },
  telemetry_export: { outcome: "`exported`, `failed`" },
  telemetry_spans: { outcome: "`exported`, `failed`, `dropped`" },
  tls_certificate: {
    listener: "`http`, `grpc`, `gateway`, of its other certificates `gateway-2` …",
    outcome: "`loaded`, `refused`",
  },
  service_client: {
    service: "name of the service that is called",
    method: "`package.Service/Method`",
    status: canonical,
    state: "`ready`, `ejected`, `misdirected`",
    attempt: "`1` to `10`, its place in the call; `hedge` beside a slow first one",
    reason: "`not_retryable`, `attempts`, `deadline`, `retry_after`, `budget`",
  },
  tls_client_certificate: { peer: "name of the service that is called", outcome: "`loaded`, `refused`" },
  workers: { reason: "`signal`, `failed`, `ended`", worker: "number of the worker, from 1" },
};

interface Labelled {
  readonly name: string;
  readonly labels: readonly string[];
}

/** The table above, and what of it was asked for. */
export class LabelValues {
  readonly #used = new Set<string>();

  /** A row for each label and set of values: the label, the metrics that have it, the values. */
  rowsOf(metrics: readonly Labelled[]): string[][] {
    const uses = metrics.flatMap(({ name, labels }) =>
      labels.map((label) => ({ name, label, text: this.#find(name, label) })),
    );
    const byLabel = [...Map.groupBy(uses, ({ label, text }) => `${label} ${text}`).values()];
    return byLabel
      .map((same) => [code(same[0]?.label ?? ""), namesOf(same), same[0]?.text ?? ""])
      .toSorted(([a = ""], [b = ""]) => a.localeCompare(b));
  }

  /** @throws Error with what nothing has asked for: its metric is gone, or has another name. */
  requireAllUsed(): void {
    const all = Object.entries(values).flatMap(([start, labels]) =>
      Object.keys(labels).map((label) => `${start}: ${label}`),
    );
    const unused = all.filter((key) => !this.#used.has(key));
    if (unused.length > 0)
      throw new Error(`scripts/docs/label-values.ts: no metric has ${unused.join(", ")}; remove it`);
  }

  #find(metric: string, label: string): string {
    const starts = Object.keys(values).filter(
      (start) => metric.startsWith(start) && Object.hasOwn(values[start] ?? {}, label),
    );
    const start = starts.toSorted((a, b) => b.length - a.length)[0] ?? "";
    const text = values[start]?.[label];
    if (text === undefined) throw new Error(`scripts/docs/label-values.ts: say what values ${label} of ${metric} has`);
    this.#used.add(`${start}: ${label}`);
    return text;
  }
}

function namesOf(uses: readonly { readonly name: string }[]): string {
  return uses
    .map(({ name }) => code(name))
    .toSorted()
    .join(", ");
}
