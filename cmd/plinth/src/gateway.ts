import { checkGatewayDocument } from "@plinth/gateway";
import type { ConfigFault } from "@plinth/kernel";
import type { GatewayQuestion } from "./gateway-arguments.ts";
import { explainGateway } from "./gateway-explain.ts";
import { safe } from "./table.ts";

/** Takes a line of the answer. */
type Print = (line: string) => void;

/**
 * Prints what is to be said of a gateway's document.
 * @param print - Default: to standard output.
 * @returns The exit code: 0, or 1 where it has faults.
 */
export async function askGateway(question: GatewayQuestion, print: Print = toOutput): Promise<number> {
  return question.action === "check" ? check(question, print) : explainGateway(question, print);
}

function check({ file, isJson }: GatewayQuestion, print: Print): number {
  const { faults, warnings, routes, inputs } = checkGatewayDocument(file);
  const ok = faults.length === 0;
  if (isJson) print(JSON.stringify({ file, ok, routes, inputs, faults, warnings }, null, 2));
  else {
    for (const fault of faults) print(lineOf(fault));
    for (const warning of warnings) print(lineOf(warning, "warning: "));
    const count = faults.length === 1 ? "1 fault" : `${ok ? "no" : faults.length} faults`;
    const proof = inputs === 0 ? "" : `, ${inputs} request targets put through every stage`;
    print(`${safe(file)}: ${ok || inputs > 0 ? `${routes} routes${proof}: ` : ""}${count}`);
  }
  return ok ? 0 : 1;
}

function lineOf({ source, key, problem }: ConfigFault, kind = ""): string {
  return safe(`${source}: ${kind}${key}: ${problem}`);
}

function toOutput(line: string): void {
  process.stdout.write(`${line}\n`);
}
