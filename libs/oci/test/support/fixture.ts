import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect } from '@jest/globals';
import { type RegistryOptions, sha256, startRegistry, type TestRegistry } from '../../../../test/support/registry.ts';
import { createRegistryClient, OciError, type RegistryClient, type RegistryClientOptions } from '../../index.ts';

/** Delays that keep tests quick; nothing else differs from a real client. */
const QUICK: RegistryClientOptions = { retry: { attempts: 4, baseDelayMs: 1, maxDelayMs: 4 } };

export interface Fixture {
  registry(options?: RegistryOptions): Promise<TestRegistry>;
  client(options?: RegistryClientOptions): RegistryClient;
  directory(): Promise<string>;
}

/** Registries, clients and folders that go away after each test. */
export function useFixture(): Fixture {
  const cleanups: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });
  return {
    async registry(options) {
      const registry = await startRegistry(options);
      cleanups.push(() => registry.close());
      return registry;
    },
    client(options = {}) {
      const client = createRegistryClient({ ...QUICK, ...options, retry: { ...QUICK.retry, ...options.retry } });
      cleanups.push(() => client.close());
      return client;
    },
    async directory() {
      const path = await mkdtemp(join(tmpdir(), 'bhatti-oci-'));
      cleanups.push(() => rm(path, { recursive: true, force: true }));
      return path;
    },
  };
}

/** The OciError that a promise rejects with. */
export async function failure(promise: Promise<unknown>): Promise<OciError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof OciError) return error;
    throw error;
  }
  throw new Error('it succeeded');
}

export const random = (length: number): Buffer => randomBytes(length);
/** The file holds these bytes. A matcher would compare and print them one by one. */
export async function expectContents(path: string, bytes: Buffer): Promise<void> {
  const found = await readFile(path);
  expect(`${found.length} bytes ${sha256(found)}`).toBe(`${bytes.length} bytes ${sha256(bytes)}`);
}

export const contents = (path: string): Promise<Buffer> => readFile(path);

/** Whether a program cannot be run here; then it is said which, since tests with it are skipped. */
export function missingTool(name: string): boolean {
  if (spawnSync(name, ['--version']).error === undefined) return false;
  process.stderr.write(`skipped, since ${name} is not here: the tests that run it (scripts/setup.sh ${name})\n`);
  return true;
}
