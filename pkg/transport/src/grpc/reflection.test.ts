import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, it } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Client, credentials, status } from "@grpc/grpc-js";
import {
  type ServerReflectionRequest,
  ServerReflectionRequestSchema,
  type ServerReflectionResponse,
  ServerReflectionResponseSchema,
} from "../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { startGrpc, type TestGrpc } from "../testing/grpc.ts";
import { failureOf } from "../testing/grpc-client.ts";

type Question = ServerReflectionRequest["messageRequest"];

/** A plain client that asks all questions on one stream. */
async function ask(grpc: TestGrpc, version: "v1" | "v1alpha", questions: readonly Question[]) {
  const client = new Client(`127.0.0.1:${grpc.server.port}`, credentials.createInsecure());
  const stream = client.makeBidiStreamRequest(
    `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
    (question: Question) =>
      Buffer.from(
        toBinary(
          ServerReflectionRequestSchema,
          create(ServerReflectionRequestSchema, { host: "h", messageRequest: question }),
        ),
      ),
    (bytes) => fromBinary(ServerReflectionResponseSchema, bytes),
  );
  const answers: ServerReflectionResponse[] = [];
  for (const question of questions) {
    stream.write(question);
    const [answer] = await once(stream, "data");
    answers.push(answer);
  }
  stream.end();
  stream.resume();
  await once(stream, "end");
  client.close();
  return answers.map(({ messageResponse }) => messageResponse);
}

const symbol = (value: string): Question => ({ case: "fileContainingSymbol", value });
const listServices: Question = { case: "listServices", value: "" };

function filesIn(answer: ServerReflectionResponse["messageResponse"] | undefined): (string | undefined)[] {
  assert.equal(answer?.case, "fileDescriptorResponse");
  return answer.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name);
}

function errorIn(answer: ServerReflectionResponse["messageResponse"] | undefined): [number, string] {
  assert.equal(answer?.case, "errorResponse");
  return [answer.value.errorCode, answer.value.errorMessage];
}

const echoFile = "plinth/transport/testing/v1/echo.proto";

describe("the reflection of a gRPC server", () => {
  it("is off by default: UNIMPLEMENTED", async () => {
    await using grpc = await startGrpc();
    for (const version of ["v1", "v1alpha"]) {
      const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`;
      assert.equal((await failureOf(grpc.client.raw(path, new Uint8Array()))).code, status.UNIMPLEMENTED);
    }
  });

  for (const version of ["v1", "v1alpha"] as const) {
    it(`lists the services, its own and the health protocol among them: ${version}`, async () => {
      await using grpc = await startGrpc({ settings: { reflection: true } });
      const [answer] = await ask(grpc, version, [listServices]);
      assert.equal(answer?.case, "listServicesResponse");
      assert.deepEqual(
        answer.value.service.map(({ name }) => name),
        [
          "grpc.health.v1.Health",
          "grpc.reflection.v1.ServerReflection",
          "grpc.reflection.v1alpha.ServerReflection",
          EchoService.typeName,
        ],
      );
    });

    it(`tells the file of each kind of symbol, with what it imports: ${version}`, async () => {
      await using grpc = await startGrpc({ settings: { reflection: true } });
      const names = [
        EchoService.typeName,
        `${EchoService.typeName}.Say`,
        "plinth.transport.testing.v1.SayRequest",
        "plinth.transport.testing.v1.SayRequest.text",
      ];
      for (const answer of await ask(grpc, version, names.map(symbol))) assert.equal(filesIn(answer)[0], echoFile);
      const inEnum = await ask(grpc, version, [
        symbol("grpc.health.v1.HealthCheckResponse.ServingStatus"),
        symbol("grpc.health.v1.HealthCheckResponse.SERVING"),
      ]);
      for (const answer of inEnum) assert.deepEqual(filesIn(answer), ["grpc/health/v1/health.proto"]);
      const [byName] = await ask(grpc, version, [{ case: "fileByFilename", value: echoFile }]);
      assert.equal(filesIn(byName)[0], echoFile);
    });
  }

  it("tells what it has not, and goes on", async () => {
    await using grpc = await startGrpc({ settings: { reflection: true } });
    const message = "plinth.transport.testing.v1.SayRequest";
    const [bySymbol, byName, extension, numbers, noMessage, nothing, list] = await ask(grpc, "v1", [
      symbol("nowhere.Nothing"),
      { case: "fileByFilename", value: "../../etc/passwd" },
      create(ServerReflectionRequestSchema, {
        messageRequest: {
          case: "fileContainingExtension",
          value: { containingType: message, extensionNumber: 7 },
        },
      }).messageRequest,
      { case: "allExtensionNumbersOfType", value: message },
      { case: "allExtensionNumbersOfType", value: "nowhere.Nothing" },
      { case: undefined },
      listServices,
    ]);
    assert.deepEqual(errorIn(bySymbol), [status.NOT_FOUND, "this server knows no symbol nowhere.Nothing"]);
    assert.deepEqual(errorIn(byName), [status.NOT_FOUND, "this server knows no file ../../etc/passwd"]);
    assert.deepEqual(errorIn(extension), [status.NOT_FOUND, `this server knows no extension 7 of ${message}`]);
    assert.equal(numbers?.case, "allExtensionNumbersResponse");
    assert.deepEqual([numbers.value.baseTypeName, numbers.value.extensionNumber], [message, []]);
    assert.deepEqual(errorIn(noMessage), [status.NOT_FOUND, "this server knows no message nowhere.Nothing"]);
    assert.equal(errorIn(nothing)[0], status.INVALID_ARGUMENT);
    assert.equal(list?.case, "listServicesResponse");
  });
});
