import type { DescMethod, FileRegistry } from "@bufbuild/protobuf";
import { didYouMean } from "@plinth/kernel";
import type { Pattern } from "../router/pattern.ts";
import type { Binding, BoundVariable, TranscodingLimits } from "./binding.ts";
import { readDescriptors } from "./descriptors.ts";
import { fieldOf, fieldsAt, takesAnyJson, textFormOf } from "./fields.ts";
import { holdsHttpBody, isHttpBody } from "./http-body.ts";
import { type HttpRule, httpRulesOf } from "./http-rule.ts";
import { parsePathTemplate } from "./path-template.ts";

/** What a route asks to have translated. */
export interface TranscodingConfig extends TranscodingLimits {
  readonly descriptors: string;
  readonly services?: readonly string[] | undefined;
  readonly methods?: readonly string[] | undefined;
}

/** A way to call a method, and the requests that go by it. */
export interface BoundPath {
  readonly binding: Binding;
  readonly pattern: Pattern;
  readonly httpMethod: string;
}

/** What the contracts of a route come to. */
export interface Bindings {
  readonly paths: readonly BoundPath[];
  /** Methods that no annotation leads to, as `package.Service/Method`. */
  readonly unbound: readonly string[];
}

type OnProblem = (problem: string, path: readonly PropertyKey[]) => void;

const httpMethods: ReadonlySet<string> = new Set(["GET", "PUT", "POST", "DELETE", "PATCH"]);

/** All ways that the annotations of a route's contracts open, be they below its paths or not. Each fault is told with its place below `grpc`. */
export function bindingsOf(config: TranscodingConfig, onProblem: OnProblem): Bindings {
  const registry = readDescriptors(config.descriptors);
  const paths: BoundPath[] = [];
  const unbound: string[] = [];
  if (typeof registry === "string") {
    onProblem(registry, ["descriptors"]);
    return { paths, unbound };
  }
  const methods = methodsOf(registry, config, onProblem);
  for (const { method, isNamed } of methods) {
    const say = (problem: string): void => onProblem(`${rpcOf(method)}: ${problem}`, ["descriptors"]);
    const rules = rulesOf(method, say);
    if (rules === undefined) {
      unbound.push(rpcOf(method));
      if (isNamed) say("it has no annotation google.api.http, and so no path");
      continue;
    }
    const fault = methodFault(method);
    if (fault !== undefined) say(fault);
    else for (const rule of rules) paths.push(...pathOf(rule, { method, registry, config }, say));
  }
  if (paths.length === 0 && unbound.length === methods.length && methods.length > 0)
    onProblem("no method of its services has an annotation google.api.http", ["descriptors"]);
  return { paths, unbound };
}

function rpcOf({ parent, name }: DescMethod): string {
  return `${parent.typeName}/${name}`;
}

function rulesOf(method: DescMethod, say: (problem: string) => void): readonly HttpRule[] | undefined {
  try {
    return httpRulesOf(method);
  } catch {
    say("its annotation google.api.http cannot be read");
    return [];
  }
}

function methodsOf(
  registry: FileRegistry,
  { services: names, methods: wanted }: TranscodingConfig,
  onProblem: OnProblem,
): { readonly method: DescMethod; readonly isNamed: boolean }[] {
  const all = [...registry].flatMap((desc) => (desc.kind === "service" ? [desc] : []));
  const annotated = all.filter(({ methods }) => methods.some((method) => rulesOf(method, () => undefined)));
  const services = (names ?? annotated.map(({ typeName }) => typeName)).flatMap((name, index) => {
    const service = all.find(({ typeName }) => typeName === name);
    if (service) return [service];
    const known = all.map(({ typeName }) => typeName);
    onProblem(`there is no service ${name} in the descriptors${didYouMean(name, known)}`, ["services", index]);
    return [];
  });
  if (services.length === 0 && names === undefined)
    onProblem("no service in it has a method with an annotation google.api.http", ["descriptors"]);
  const methods = services.flatMap((service) => service.methods);
  if (wanted === undefined) return methods.map((method) => ({ method, isNamed: false }));
  return wanted.flatMap((name, index) => {
    const found = methods.filter((method) => method.name === name || rpcOf(method) === name);
    const known = methods.map((method) => method.name);
    if (found.length === 0)
      onProblem(`there is no method ${name} in its services${didYouMean(name, known)}`, ["methods", index]);
    if (found.length > 1)
      onProblem(`several services have a method ${name}; write ${found.map(rpcOf).join(" or ")}`, ["methods", index]);
    return found.map((method) => ({ method, isNamed: true }));
  });
}

function methodFault(method: DescMethod): string | undefined {
  if (method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming")
    return "it takes a stream of requests, which a request of HTTP cannot be; leave it out by `methods`";
  return undefined;
}

interface Sources {
  readonly method: DescMethod;
  readonly registry: FileRegistry;
  readonly config: TranscodingConfig;
}

function pathOf(rule: HttpRule, { method, registry, config }: Sources, say: (problem: string) => void): BoundPath[] {
  if (!httpMethods.has(rule.method)) {
    say(
      `its annotation names ${rule.method === "" ? "no method of HTTP" : `the method ${rule.method}`}; expected one of ${[...httpMethods].join(", ")}`,
    );
    return [];
  }
  const parsed = parsePathTemplate(rule.path);
  if (typeof parsed === "string") {
    say(`its path ${JSON.stringify(rule.path)}: ${parsed}`);
    return [];
  }
  const { pattern, variables: named } = parsed;
  const { input, output } = method;
  const variables: BoundVariable[] = [];
  for (const variable of named) {
    const fields = fieldsAt(input, variable.field);
    const last = typeof fields === "string" ? undefined : fields.at(-1);
    if (typeof fields === "string") say(`its path ${rule.path}: ${fields}`);
    else if (last === undefined || last.fieldKind === "list" || textFormOf(last) === undefined)
      say(`its path ${rule.path}: field ${variable.field.join(".")} is no single value that text could stand for`);
    else variables.push({ ...variable, fields });
  }
  const body = rule.body === "*" ? "all" : rule.body === "" ? undefined : fieldOf(input, rule.body);
  const responseBody = rule.responseBody === "" ? undefined : fieldOf(output, rule.responseBody);
  if (rule.body !== "" && body === undefined) say(`its body ${rule.body} is no field of ${input.typeName}`);
  if (rule.responseBody !== "" && responseBody === undefined)
    say(`its response_body ${rule.responseBody} is no field of ${output.typeName}`);
  if (rule.body !== "" && rule.method === "GET")
    say("its annotation asks for a body with GET, which clients and proxies drop");
  if (typeof body === "object" && variables.some(({ fields }) => fields[0] === body))
    say(`field ${rule.body} is its body, and stands in its path as well`);
  const takesBytes = body === "all" ? isHttpBody(input) : body !== undefined && holdsHttpBody(body);
  if (takesBytes && body === "all" && variables.length > 0)
    say(`its path ${rule.path}: ${input.typeName} is the bytes of a body alone; no part of a path belongs into it`);
  const binding: Binding = {
    rpc: rpcOf(method),
    method,
    verb: pattern.verb,
    variables,
    body,
    takesBytes,
    responseBody,
    givesBytes: responseBody === undefined ? isHttpBody(output) : holdsHttpBody(responseBody),
    registry,
    limits: config,
    takesAnyJson: takesAnyJson(input),
  };
  return [{ binding, pattern, httpMethod: rule.method }];
}
