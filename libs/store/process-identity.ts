import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { systemCode } from './error.ts';

/** Identifies a process and its machine, so that one can tell later whether it is alive. No field contains a `~` or a `/`. */
export interface ProcessIdentity {
  readonly host: string;
  /** Changes at each boot of the machine. */
  readonly bootId: string;
  /** Process ids are only meaningful within one namespace (a container). */
  readonly pidNamespace: string;
  readonly pid: number;
  /** In clock ticks since boot: distinguishes a process from a later one with the same id. */
  readonly startTime: string;
}

const unknown = '0';
let own: Promise<ProcessIdentity> | undefined;

/** The identity of this process. Without /proc (not Linux), the fields that come from it are `0`. */
export function ownIdentity(): Promise<ProcessIdentity> {
  own ??= readOwnIdentity();
  return own;
}

async function readOwnIdentity(): Promise<ProcessIdentity> {
  return {
    host: clean(hostname()),
    bootId: clean(await contentOf(readFile('/proc/sys/kernel/random/boot_id', 'utf8'))),
    pidNamespace: clean(await contentOf(readlink('/proc/self/ns/pid'))),
    pid: process.pid,
    startTime: await startTimeOf(process.pid),
  };
}

/** Whether the process is alive; undefined when that cannot be known here. */
export async function isAlive(other: ProcessIdentity): Promise<boolean | undefined> {
  const self = await ownIdentity();
  if (other.host !== self.host) return undefined;
  if (other.bootId !== self.bootId) return false;
  if (other.pidNamespace !== self.pidNamespace) return undefined;
  return runs(other.pid) && (await startTimeOf(other.pid)) === other.startTime;
}

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // It exists, but belongs to another user.
    return systemCode(error) === 'EPERM';
  }
}

/** Field 22 of /proc/<pid>/stat (proc(5)); the command in field 2 may contain spaces and parentheses. */
async function startTimeOf(pid: number): Promise<string> {
  const stat = await contentOf(readFile(`/proc/${pid}/stat`, 'utf8'));
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? unknown;
}

async function contentOf(reading: Promise<string>): Promise<string> {
  try {
    return (await reading).trim();
  } catch {
    return unknown;
  }
}

function clean(text: string): string {
  return text.replace(/[^A-Za-z0-9.-]/g, '') || unknown;
}
