// A bare grpc-js client whose messages are those of protobuf-es.
import { create, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { Client, credentials } from "@grpc/grpc-js";
import {
  GreeterService,
  GreetRequestSchema,
  GreetResponseSchema,
} from "../../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";
import { required } from "../ready.ts";
import { measureCalls } from "./measure.ts";

const client = new Client(`127.0.0.1:${required("GRPC_PORT")}`, credentials.createInsecure());
const path = `/${GreeterService.typeName}/${GreeterService.method.greet.name}`;

await measureCalls(
  (name) =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        path,
        (request: MessageShape<typeof GreetRequestSchema>) => Buffer.from(toBinary(GreetRequestSchema, request)),
        (bytes: Buffer) => fromBinary(GreetResponseSchema, bytes),
        create(GreetRequestSchema, { name }),
        { deadline: Date.now() + 2_000 },
        (error, reply) => (error === null && reply ? resolve(reply.message) : reject(error ?? new Error("no reply"))),
      );
    }),
);
client.close();
