import { randomBytes } from 'node:crypto';
import type { ProcessIdentity } from './process-identity.ts';

const prefix = '.tmp';
const pattern = /^\.tmp~([^~/]+)~([^~/]+)~([^~/]+)~(\d+)~(\d+)~[0-9a-f]+(?:~([A-Za-z0-9._-]+))?$/;

/**
 * A unique name for something unfinished. It identifies its process, so that others can tell when it is abandoned.
 *
 * @param label the final (or former) name, where others must be able to tell: letters, digits, `.`, `_` and `-`
 */
export function temporaryName({ host, bootId, pidNamespace, pid, startTime }: ProcessIdentity, label?: string): string {
  const unique = randomBytes(8).toString('hex');
  const parts = [prefix, host.slice(0, 64), bootId, pidNamespace, pid, startTime, unique];
  return [...parts, ...(label === undefined ? [] : [label])].join('~');
}

/**
 * A name for something about to be removed, which belongs to nobody: if that fails, it is an orphan at once, and not only when this
 * process ends, which may take months. (No Linux process starts at tick 0.)
 */
export function doomedName(maker: ProcessIdentity): string {
  return temporaryName({ ...maker, startTime: '0' });
}

/** The process that made a temporary name; undefined for other names. */
export function parseTemporaryName(name: string): ProcessIdentity | undefined {
  const [, host, bootId, pidNamespace, pid, startTime] = pattern.exec(name) ?? [];
  if (!host || !bootId || !pidNamespace || !pid || !startTime) return undefined;
  return { host, bootId, pidNamespace, pid: Number(pid), startTime };
}

/** The label of a temporary name, if it has one. */
export function temporaryLabel(name: string): string | undefined {
  return pattern.exec(name)?.[6];
}
