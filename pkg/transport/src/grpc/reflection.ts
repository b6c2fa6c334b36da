import type { DescFile } from "@bufbuild/protobuf";
import type { Status } from "@plinth/kernel";
import { ServerReflection } from "../gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionV1alpha } from "../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { type RpcService, rpcService } from "../rpc/service.ts";
import { toGrpcCode } from "../status.ts";
import { Contracts, serializedWithImports } from "./contracts.ts";

/** A request of either version: they have the same fields. */
interface Question {
  readonly host: string;
  readonly messageRequest:
    | { readonly case: "fileByFilename" | "fileContainingSymbol"; readonly value: string }
    | { readonly case: "allExtensionNumbersOfType" | "listServices"; readonly value: string }
    | {
        readonly case: "fileContainingExtension";
        readonly value: { readonly containingType: string; readonly extensionNumber: number };
      }
    | { readonly case: undefined; readonly value?: undefined };
}

/**
 * The gRPC reflection protocol, in both versions that clients speak, over the contracts of these services and its own.
 * What it has not got is told in an answer; the stream goes on.
 * @see https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
 */
export function reflectionServices(services: readonly RpcService[]): RpcService[] {
  const own = [ServerReflection, ServerReflectionV1alpha];
  const contracts = new Contracts([...services.map(({ descriptor }) => descriptor), ...own]);
  return [
    rpcService(ServerReflection, {
      async *serverReflectionInfo(requests) {
        for await (const request of requests)
          yield { validHost: request.host, originalRequest: request, messageResponse: answer(contracts, request) };
      },
    }),
    rpcService(ServerReflectionV1alpha, {
      async *serverReflectionInfo(requests) {
        for await (const request of requests)
          yield { validHost: request.host, originalRequest: request, messageResponse: answer(contracts, request) };
      },
    }),
  ];
}

function answer(contracts: Contracts, { messageRequest: asked }: Question) {
  switch (asked.case) {
    case "listServices":
      return {
        case: "listServicesResponse" as const,
        value: { service: contracts.services.map((name) => ({ name })) },
      };
    case "fileByFilename":
      return filesOrError(contracts.file(asked.value), `file ${asked.value}`);
    case "fileContainingSymbol":
      return filesOrError(contracts.fileOfSymbol(asked.value), `symbol ${asked.value}`);
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = asked.value;
      const file = contracts.fileOfExtension(containingType, extensionNumber);
      return filesOrError(file, `extension ${extensionNumber} of ${containingType}`);
    }
    case "allExtensionNumbersOfType": {
      const numbers = contracts.extensionsOf(asked.value);
      if (numbers === undefined) return failed("not_found", `this server knows no message ${asked.value}`);
      return {
        case: "allExtensionNumbersResponse" as const,
        value: { baseTypeName: asked.value, extensionNumber: [...numbers] },
      };
    }
    case undefined:
      return failed("invalid_argument", "nothing is asked; set one field of message_request that the protocol has");
  }
}

function filesOrError(file: DescFile | undefined, what: string) {
  if (file === undefined) return failed("not_found", `this server knows no ${what}`);
  return { case: "fileDescriptorResponse" as const, value: { fileDescriptorProto: serializedWithImports(file) } };
}

function failed(status: Status, errorMessage: string) {
  return { case: "errorResponse" as const, value: { errorCode: toGrpcCode(status), errorMessage } };
}
