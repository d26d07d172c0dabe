import { CliError } from '../cli-error.ts';
import { ApiError, UnreachableError } from '../server/api-error.ts';
import type { Console } from './console.ts';
import { printableLine } from './printable.ts';

/** Prints what went wrong and what to do. Returns the exit code. */
export function explain(error: unknown, { err }: Pick<Console, 'err'>): number {
  if (error instanceof CliError) {
    err(`error: ${printableLine(error.message)} (${error.code})\n${error.hint === undefined ? '' : `${error.hint}\n`}`);
  } else if (error instanceof ApiError) {
    const request = error.status >= 500 && error.requestId !== undefined ? `, request ${error.requestId}` : '';
    err(`error: ${printableLine(error.message)} (${printableLine(error.code)}${request})\n`);
  } else if (error instanceof UnreachableError) {
    err(`error: ${error.message}\n${error.hint}\n`);
  } else if (error instanceof Error && 'syscall' in error && error.syscall === 'uv_cwd') {
    err('error: the folder that this was called in is not there any more (not_found)\nChange to another: cd\n');
  } else if (error instanceof Error && error.name === 'AbortError') {
    return 130;
  } else {
    err(`error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)} (internal)\n`);
  }
  return 1;
}
