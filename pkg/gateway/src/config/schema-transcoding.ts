import { z } from "zod";

/** How requests of HTTP and JSON become calls of gRPC. */
export const transcodingSchema = z
  .strictObject({
    descriptors: z.string().min(1).max(4_096).meta({
      description:
        "File with the contracts, a FileDescriptorSet with all that they import, as `buf build -o api.binpb` writes it. Read again whenever the document is.",
    }),
    services: z
      .array(
        z.string().regex(/^[A-Za-z_][\w.]*$/, "expected the full name of a service, such as library.v1.LibraryService"),
      )
      .min(1)
      .optional()
      .meta({ description: "Full names of services. Default: all with an annotation." }),
    methods: z.array(z.string().min(1).max(512)).min(1).optional().meta({
      description:
        "Only these of their methods, as `GetBook` or `library.v1.LibraryService/GetBook`. Default: all with an annotation.",
    }),
    maxRequestBytes: z
      .int()
      .min(0)
      .max(1_073_741_824)
      .default(4_194_304)
      .meta({ description: "Largest body of a request, in bytes; `maxBodyBytes` holds as well." }),
    maxReplyBytes: z
      .int()
      .min(0)
      .max(1_073_741_824)
      .default(4_194_304)
      .meta({ description: "Largest message of a reply, in bytes; of a stream each." }),
    maxDepth: z
      .int()
      .min(1)
      .max(100)
      .default(64)
      .meta({ description: "Objects and lists within each other that a request's body may have." }),
    emitDefaults: z
      .boolean()
      .default(false)
      .meta({ description: 'Replies have fields with their default value as well: `0`, `""`, `false`, `[]`.' }),
  })
  .optional()
  .meta({
    description:
      "Requests of HTTP and JSON become calls of gRPC, by the annotations `google.api.http` of the service's contracts whose paths are below `match.path`.",
  });

/** What a route says beside that. */
export interface TranscodingUse {
  readonly grpc?: unknown;
  readonly service: string;
  readonly backends?: readonly { readonly service?: string | undefined }[] | undefined;
  readonly rewrite?: { readonly prefix?: string | undefined; readonly path?: string | undefined } | undefined;
}

/**
 * What is wrong with a route that translates, by its place in the route.
 * @param services - Of the document, unchecked.
 */
export function transcodingProblems(
  { grpc, service, backends, rewrite }: TranscodingUse,
  services: unknown,
  onProblem: (path: readonly PropertyKey[], problem: string) => void,
): void {
  if (grpc === undefined) return;
  const all = backends === undefined ? [service] : backends.map((backend) => backend.service ?? service);
  for (const name of new Set(all))
    if (!speaksHttp2(services, name)) onProblem(["grpc"], `gRPC needs \`protocol: http2\` under services.${name}`);
  if (rewrite?.prefix !== undefined || rewrite?.path !== undefined)
    onProblem(["rewrite"], "the service gets the path of a method of gRPC; only `host` can be set beside `grpc`");
}

function speaksHttp2(services: unknown, name: string): boolean {
  const config: unknown = typeof services === "object" && services !== null ? Reflect.get(services, name) : undefined;
  return typeof config === "object" && config !== null && Reflect.get(config, "protocol") === "http2";
}
