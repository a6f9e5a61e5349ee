/** The JSON schema of a command's arguments, for those who run commands by program. */
import type { ReadonlyJSONObject } from '@lumino/coreutils';

/** Describe arguments by their schemas; `required` names those that must be there. */
export function describeArgs(
  properties: Readonly<Record<string, ReadonlyJSONObject>>,
  required: readonly string[] = []
): { args: ReadonlyJSONObject } {
  return { args: { type: 'object', properties, required: [...required] } };
}
