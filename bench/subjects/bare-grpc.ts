// grpc-js with one unary method whose messages are those of protobuf-es.
import { create, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { type handleUnaryCall, Server, ServerCredentials } from "@grpc/grpc-js";
import {
  GreeterService,
  GreetRequestSchema,
  GreetResponseSchema,
} from "../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";
import { greetingOf } from "./greeting.ts";
import { tellReady, terminated } from "./ready.ts";

type Request = MessageShape<typeof GreetRequestSchema>;
type Response = MessageShape<typeof GreetResponseSchema>;

const definition = {
  greet: {
    path: `/${GreeterService.typeName}/${GreeterService.method.greet.name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: (message: Request) => Buffer.from(toBinary(GreetRequestSchema, message)),
    requestDeserialize: (bytes: Buffer) => fromBinary(GreetRequestSchema, bytes),
    responseSerialize: (message: Response) => Buffer.from(toBinary(GreetResponseSchema, message)),
    responseDeserialize: (bytes: Buffer) => fromBinary(GreetResponseSchema, bytes),
  },
};
const greet: handleUnaryCall<Request, Response> = ({ request }, callback) =>
  callback(null, create(GreetResponseSchema, { message: greetingOf(request.name) }));

const server = new Server();
server.addService(definition, { greet });
const { promise, resolve, reject } = Promise.withResolvers<number>();
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
  error === null ? resolve(port) : reject(error),
);
tellReady(await promise);
await terminated();
server.forceShutdown();
