// Question: what does one unary call cost a service that stands on Plinth's gRPC server with everything on?
//
// Floor:   grpc-js with protobuf-es messages, and nothing else.
// Plinth:  the same contract and handler on our gRPC server with recovery, request id, trace, log context, metrics, deadline,
//          an access log to a file, and spans of 1 % of the calls exported to an OTLP collector on the other CPU.
// Shape:   64 calls in a closed loop on 8 connections, a small message there and back; server alone on one CPU.
// Targets: at most 1.25 times bare grpc-js.
import { create, toBinary } from "@bufbuild/protobuf";
import {
  GreeterService,
  GreetRequestSchema,
  GreetResponseSchema,
} from "../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";
import { underLoad } from "../harness/under-load.ts";
import { greetingOf } from "../subjects/greeting.ts";
import { startPlinthGrpc } from "../subjects/http-server-start.ts";
import { startNode } from "../subjects/programs.ts";

const request = toBinary(GreetRequestSchema, create(GreetRequestSchema, { name: "Ada Lovelace" }));
const reply = toBinary(GreetResponseSchema, create(GreetResponseSchema, { message: greetingOf("Ada Lovelace") }));

export const grpcServer = underLoad({
  name: "grpc-server",
  sentence: "What does one unary call cost a service on Plinth's gRPC server with everything on?",
  subject: "plinth",
  load: {
    protocol: "grpc",
    connections: 64,
    path: `/${GreeterService.typeName}/${GreeterService.method.greet.name}`,
    body: { contentType: "application/grpc", base64: Buffer.from(request).toString("base64") },
    status: 0,
    bodyBytes: reply.length + 5,
  },
  targets: [{ row: "plinth", comparedTo: "grpc-js", atMost: 1.25 }],
  prepare: async (lab) => [
    { name: "grpc-js", role: "floor", start: () => startNode(lab, "bare-grpc.ts") },
    { name: "plinth", role: "plinth", start: () => startPlinthGrpc(lab) },
  ],
});
