import { isNativeError } from 'node:util/types';
import { systemErrorName } from '@bhatti/store';

/**
 * A failure that the CLI explains itself: `message` goes to stderr after `error: `, and `hint` on the lines below it.
 */
export class CliError extends Error {
  readonly code: string;
  readonly hint: string | undefined;

  constructor(code: string, message: string, options: ErrorOptions & { hint?: string } = {}) {
    super(message, options);
    this.name = 'CliError';
    this.code = code;
    this.hint = options.hint;
  }
}

/** The `code` of a Node system error (`ECONNREFUSED`, `ENOENT`, …), or undefined for anything else. */
export function systemErrorCode(error: unknown): string | undefined {
  // Not instanceof: the errors of Node's own modules are of another realm wherever a test runs in one of its own.
  if (!isNativeError(error) || !('code' in error)) return undefined;
  return systemErrorName(error);
}
