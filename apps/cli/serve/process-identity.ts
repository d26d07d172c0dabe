import { execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import * as z from 'zod';

/**
 * Identifies one process for good: a pid alone is reused, and means nothing on another host or after a reboot. The start time
 * is in the system's own unit, and only compared.
 */
export const processIdentity = z.object({
  host: z.string(),
  boot: z.string(),
  /** The process ids of one container mean nothing in another. */
  pidNamespace: z.string(),
  pid: z.int().positive(),
  startTime: z.string(),
});
export type ProcessIdentity = z.output<typeof processIdentity>;

/** The identity of a live process on this host, or undefined when there is none with that pid. */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  const startTime = process.platform === 'linux' ? linuxStartTime(pid) : posixStartTime(pid);
  if (startTime === undefined) return undefined;
  return { host: hostname(), boot: bootId(), pidNamespace: pidNamespace(), pid, startTime };
}

/** `unknown` for a process of another host or container, which cannot be looked up here. */
export function processState(identity: ProcessIdentity): 'alive' | 'dead' | 'unknown' {
  if (identity.host !== hostname()) return 'unknown';
  if (identity.boot !== bootId()) return 'dead';
  if (identity.pidNamespace !== pidNamespace()) return 'unknown';
  return identifyProcess(identity.pid)?.startTime === identity.startTime ? 'alive' : 'dead';
}

/** Sends a signal to that very process; false when it is gone. Throws what `process.kill` does, EPERM above all. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (processState(identity) !== 'alive') return false;
  process.kill(identity.pid, signal);
  return true;
}

/** proc(5), /proc/pid/stat: field 3 is the state, field 22 the start time; the name in field 2 may hold anything. */
function linuxStartTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const dead = fields[0] === 'Z' || fields[0] === 'X';
    return dead ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function posixStartTime(pid: number): string | undefined {
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim() || undefined;
  } catch {
    return undefined;
  }
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}
