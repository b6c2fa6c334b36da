import { AppError } from "./app-error.ts";

export type OptionErrorCode = "ERR_OPTION_RANGE" | "ERR_OPTION_TYPE";

/** An option given in code is not one the function takes; the message begins with the option's name. */
export class OptionError extends AppError<OptionErrorCode> {
  override readonly name = "OptionError";
}

/** @throws {@link OptionError} `ERR_OPTION_RANGE` unless `value` is a whole number from `min` to `max`. */
export function requireWhole(
  name: string,
  value: number,
  range: { readonly min?: number; readonly max?: number } = {},
): void {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = range;
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new OptionError(
    "ERR_OPTION_RANGE",
    "invalid_argument",
    `${name} must be a whole number from ${min} to ${max}, not ${value}`,
  );
}

/** @throws {@link OptionError} `ERR_OPTION_RANGE` unless `value` is a number from `min` to `max`; NaN never is. */
export function requireNumber(
  name: string,
  value: number,
  range: { readonly min?: number; readonly max?: number } = {},
): void {
  const { min = -Infinity, max = Infinity } = range;
  if (typeof value === "number" && value >= min && value <= max) return;
  throw new OptionError(
    "ERR_OPTION_RANGE",
    "invalid_argument",
    `${name} must be a number from ${min} to ${max}, not ${value}`,
  );
}

/** `given` over `defaults`; a field that is `undefined` counts as absent. */
export function withDefaults<T extends object>(defaults: T, given: { readonly [K in keyof T]?: T[K] | undefined }): T {
  const result = { ...defaults };
  for (const key in defaults) {
    const value = given[key];
    if (value !== undefined) result[key] = value;
  }
  return result;
}
