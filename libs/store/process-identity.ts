import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { systemCode } from './error.ts';

/** Which process on which machine: enough to tell later whether it lives. No field holds a `~` or a `/`. */
export interface ProcessIdentity {
  readonly host: string;
  /** Changes at each boot of the machine. */
  readonly bootId: string;
  /** The process ids of one container mean nothing in another. */
  readonly pidNamespace: string;
  readonly pid: number;
  /** In clock ticks since boot: tells a process from a later one with the same id. */
  readonly startTime: string;
}

const unknown = '0';
let own: Promise<ProcessIdentity> | undefined;

/** This process. Where /proc is not there (not Linux) the fields it tells are `0` for all. */
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

/** Whether the process lives; undefined when that cannot be told from here. */
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
    // There, but another user's.
    return systemCode(error) === 'EPERM';
  }
}

/** Field 22 of /proc/<pid>/stat (proc(5)); the command in field 2 may hold spaces and parentheses. */
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
