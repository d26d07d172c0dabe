import { randomBytes } from 'node:crypto';
import type { ProcessIdentity } from './process-identity.ts';

const prefix = '.tmp';
const pattern = /^\.tmp~([^~/]+)~([^~/]+)~([^~/]+)~(\d+)~(\d+)~[0-9a-f]+$/;

/** A name, new each time, for what is not finished. It says whose it is, so that others can tell when it is nobody's. */
export function temporaryName({ host, bootId, pidNamespace, pid, startTime }: ProcessIdentity): string {
  return [prefix, host.slice(0, 64), bootId, pidNamespace, pid, startTime, randomBytes(8).toString('hex')].join('~');
}

/** The process that made a temporary name; undefined for a name that is none. */
export function parseTemporaryName(name: string): ProcessIdentity | undefined {
  const [, host, bootId, pidNamespace, pid, startTime] = pattern.exec(name) ?? [];
  if (!host || !bootId || !pidNamespace || !pid || !startTime) return undefined;
  return { host, bootId, pidNamespace, pid: Number(pid), startTime };
}
