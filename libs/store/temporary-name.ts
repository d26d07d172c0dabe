import { randomBytes } from 'node:crypto';
import type { ProcessIdentity } from './process-identity.ts';

const prefix = '.tmp';
const pattern = /^\.tmp~([^~/]+)~([^~/]+)~([^~/]+)~(\d+)~(\d+)~[0-9a-f]+(?:~([A-Za-z0-9._-]+))?$/;

/**
 * A name, new each time, for what is not finished. It says whose it is, so that others can tell when it is nobody's.
 * @param label the name that it is to have, or had, where others must be able to tell: letters, digits, `.`, `_` and `-`
 */
export function temporaryName({ host, bootId, pidNamespace, pid, startTime }: ProcessIdentity, label?: string): string {
  const unique = randomBytes(8).toString('hex');
  const parts = [prefix, host.slice(0, 64), bootId, pidNamespace, pid, startTime, unique];
  return [...parts, ...(label === undefined ? [] : [label])].join('~');
}

/**
 * A name for what is about to be removed, and is nobody's any more: what cannot be removed is an orphan at once, and need not wait for the
 * end of a process that may run for months. No process of Linux has begun at tick 0.
 */
export function doomedName(maker: ProcessIdentity): string {
  return temporaryName({ ...maker, startTime: '0' });
}

/** The process that made a temporary name; undefined for a name that is none. */
export function parseTemporaryName(name: string): ProcessIdentity | undefined {
  const [, host, bootId, pidNamespace, pid, startTime] = pattern.exec(name) ?? [];
  if (!host || !bootId || !pidNamespace || !pid || !startTime) return undefined;
  return { host, bootId, pidNamespace, pid: Number(pid), startTime };
}

/** The label of a temporary name, where it has one. */
export function temporaryLabel(name: string): string | undefined {
  return pattern.exec(name)?.[6];
}
