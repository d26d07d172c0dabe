import type { Credentials } from '../../libs/oci/index.ts';
import { type RegistryAuth, startRegistry, type TestRegistry } from '../../test/support/registry.ts';

const ALICE = { username: 'alice', password: 's3cret-pass' };
const AUTHS: readonly RegistryAuth[] = [
  { kind: 'none' },
  { kind: 'basic', ...ALICE },
  { kind: 'bearer', ...ALICE, tokenSeconds: 2 },
  { kind: 'bearer' },
];

/** Pulls go through a lane one after the other: a registry, and the storage it redirects to. */
export interface Lane {
  readonly registry: TestRegistry;
  readonly storage: TestRegistry;
  /** Undefined where the registry lets anyone in. */
  readonly credentials: Credentials | undefined;
}

/** Opens `count` lanes, each with another way to log in. */
export async function openLanes(count: number): Promise<Lane[]> {
  const lanes: Lane[] = [];
  for (let position = 0; position < count; position += 1) {
    const auth = AUTHS[position % AUTHS.length] ?? { kind: 'none' };
    const credentials = auth.kind !== 'none' && auth.username !== undefined ? ALICE : undefined;
    lanes.push({ registry: await startRegistry({ auth }), storage: await startRegistry(), credentials });
  }
  return lanes;
}

/** Forgets the images, requests and faults of a lane. */
export function clearLane({ registry, storage }: Lane): void {
  for (const host of [registry, storage]) host.clear();
}

export async function closeLane({ registry, storage }: Lane): Promise<void> {
  for (const host of [registry, storage]) await host.close();
}

/** Whether a text holds the password, or the signature of a redirect. */
export function tellsSecret(text: string): boolean {
  return /secret|s3cret/.test(text);
}
