import {
  create,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  Client,
  credentials,
  type Interceptor,
  Metadata,
  type requestCallback,
  type ServiceError,
  type status,
} from "@grpc/grpc-js";
import { type ErrorInfo, BadRequestSchema, ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { methodName } from "../rpc/service.ts";

export interface CallInit {
  readonly metadata?: Readonly<Record<string, string | readonly string[]>>;
  /** Milliseconds from now. Default none. */
  readonly deadlineMs?: number;
}

type Methods = (typeof EchoService)["method"];
type In<M extends DescMethod> = MessageInitShape<M["input"]>;
type Out<M extends DescMethod> = MessageShape<M["output"]>;

/** A plain client of the gRPC library, without anything of ours. */
export class EchoClient {
  readonly #client: Client;

  constructor(port: number, interceptors: Interceptor[] = []) {
    this.#client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
      interceptors,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.initial_reconnect_backoff_ms": 20,
    });
  }

  say(request: In<Methods["say"]>, init?: CallInit): Promise<Out<Methods["say"]>> {
    return this.unary(EchoService.method.say, request, init).reply;
  }

  /** A unary call of any contract, with its handle. */
  unary<M extends DescMethod>(
    method: M,
    request: MessageInitShape<M["input"]>,
    init: CallInit = {},
  ): { readonly call: ClientUnaryCall; readonly reply: Promise<Out<M>> } {
    const answer = Promise.withResolvers<Out<M>>();
    const { path, serialize, deserialize } = codecOf(method);
    const [metadata, options] = toOptions(init);
    const call = this.#client.makeUnaryRequest(
      path,
      serialize,
      deserialize,
      request,
      metadata,
      options,
      settling(answer),
    );
    return { call, reply: answer.promise };
  }

  /** A unary call whose bytes are sent as they are. */
  raw(path: string, bytes: Uint8Array): Promise<Buffer> {
    const answer = Promise.withResolvers<Buffer>();
    const serialize = (message: Uint8Array): Buffer => Buffer.from(message);
    this.#client.makeUnaryRequest(path, serialize, (reply) => reply, bytes, settling(answer));
    return answer.promise;
  }

  count(request: In<Methods["count"]>, init: CallInit = {}): ClientReadableStream<Out<Methods["count"]>> {
    return this.serverStream(EchoService.method.count, request, init);
  }

  serverStream<M extends DescMethod>(
    method: M,
    request: MessageInitShape<M["input"]>,
    init: CallInit = {},
  ): ClientReadableStream<Out<M>> {
    const { path, serialize, deserialize } = codecOf(method);
    return this.#client.makeServerStreamRequest(path, serialize, deserialize, request, ...toOptions(init));
  }

  collect(init: CallInit = {}): {
    readonly call: ClientWritableStream<In<Methods["collect"]>>;
    readonly reply: Promise<Out<Methods["collect"]>>;
  } {
    const answer = Promise.withResolvers<Out<Methods["collect"]>>();
    const { path, serialize, deserialize } = codecOf(EchoService.method.collect);
    const [metadata, options] = toOptions(init);
    const call = this.#client.makeClientStreamRequest(
      path,
      serialize,
      deserialize,
      metadata,
      options,
      settling(answer),
    );
    return { call, reply: answer.promise };
  }

  chat(init: CallInit = {}): ClientDuplexStream<In<Methods["chat"]>, Out<Methods["chat"]>> {
    const { path, serialize, deserialize } = codecOf(EchoService.method.chat);
    return this.#client.makeBidiStreamRequest(path, serialize, deserialize, ...toOptions(init));
  }

  close(): void {
    this.#client.close();
  }
}

function settling<T>({ resolve, reject }: PromiseWithResolvers<T>): requestCallback<T> {
  return (error, reply) => {
    if (error) reject(error);
    else if (reply === undefined) reject(new Error("neither an error nor a reply"));
    else resolve(reply);
  };
}

function codecOf<M extends DescMethod>(method: M) {
  const input: M["input"] = method.input;
  const output: M["output"] = method.output;
  return {
    path: `/${methodName(method)}`,
    serialize: (message: MessageInitShape<M["input"]>) => Buffer.from(toBinary(input, create(input, message))),
    deserialize: (bytes: Buffer): Out<M> => fromBinary(output, bytes),
  };
}

function toOptions({ metadata: given = {}, deadlineMs }: CallInit): [Metadata, { deadline?: number }] {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(given))
    for (const one of typeof value === "string" ? [value] : value) metadata.add(name, one);
  return [metadata, deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs }];
}

/** What a failed call tells of its error. */
export interface WireError {
  readonly code: status;
  readonly message: string;
  readonly info: ErrorInfo | undefined;
  readonly faults: readonly { readonly field: string; readonly description: string }[];
  readonly traceId: string | undefined;
  readonly requestId: string | undefined;
  /** Size of the details on the wire. */
  readonly bytes: number;
}

/** Resolves with what a call failed with; rejects when it succeeds. */
export async function failureOf(reply: Promise<unknown>): Promise<WireError> {
  try {
    await reply;
  } catch (error) {
    if (isServiceError(error)) return toWireError(error);
    throw error;
  }
  throw new Error("the call succeeded");
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "details" in error && "metadata" in error;
}

function toWireError({ code, details, metadata }: ServiceError): WireError {
  const [bytes] = metadata.get("grpc-status-details-bin");
  const { details: any = [] } = Buffer.isBuffer(bytes) ? fromBinary(StatusSchema, bytes) : {};
  const find = (type: string): Uint8Array | undefined =>
    any.find(({ typeUrl }) => typeUrl === `type.googleapis.com/${type}`)?.value;
  const [info, bad] = [find(ErrorInfoSchema.typeName), find(BadRequestSchema.typeName)];
  const text = (name: string): string | undefined => metadata.get(name)[0]?.toString();
  return {
    code,
    message: details,
    info: info && fromBinary(ErrorInfoSchema, info),
    faults: bad ? fromBinary(BadRequestSchema, bad).fieldViolations : [],
    traceId: text("plinth-trace-id"),
    requestId: text("x-request-id"),
    bytes: bytes?.length ?? 0,
  };
}
