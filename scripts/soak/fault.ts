import type { Fault, TestRegistry } from '../../test/support/registry.ts';
import type { Random } from '../random.ts';
import type { Lane } from './lane.ts';

/** What goes wrong, on whichever path. */
export type Wrong = Omit<Fault, 'path'>;

/** A fault that a client recovers from, in an answer of `size` bytes. */
export function passingFault(random: Random, size: number, storage: TestRegistry): Wrong {
  const offset = random.between(0, size);
  const kinds: readonly [() => Wrong, ...(() => Wrong)[]] = [
    () => ({ cutAfter: offset }),
    () => ({ resetAfter: offset }),
    () => ({ endAfter: offset }),
    () => ({ status: random.pick([500, 502, 503, 504, 408, 429]) }),
    () => ({ status: 429, headers: { 'retry-after': random.pick(['0', '0.01', new Date(0).toUTCString()]) } }),
    () => ({ ignoreRange: true }),
    () => ({ ignoreRange: true, cutAfter: offset }),
    () => ({ shiftRange: random.pick([-3, 5]) }),
    () => ({ headers: { 'content-range': random.pick([undefined, 'nonsense', 'bytes */*']) } }),
    () => ({ headers: { etag: random.pick(['"other"', 'W/"weak"', undefined]) }, cutAfter: offset }),
    () => ({ redirect: `${storage.url}{path}?signature=secret` }),
    () => ({ redirect: `${storage.url}/expired{path}` }),
    () => ({ bytesPerSecond: 40_000_000 }),
  ];
  // These cost their time, so they are rare.
  if (random.is(0.06)) return random.pick([{ stallAfter: offset }, { hang: true }]);
  return random.pick(kinds)();
}

export interface LastingFault {
  /** Codes that a pull may end with. */
  readonly expected: readonly string[];
  /** Plans it for this blob, or for every manifest, at both hosts of the lane. */
  plan(lane: Lane, blob: string): void;
}

/** Faults that no client recovers from, with the error codes to expect. */
export const LASTING_FAULTS: readonly [LastingFault, ...LastingFault[]] = [
  lasting('registry_error', 'blob', { status: 404 }),
  lasting('registry_error', 'blob', { status: 500 }),
  lasting('registry_error', 'blob', { cutAfter: 0 }),
  lasting('unauthorized', 'blob', { status: 403 }),
  lasting('rate_limited', 'blob', { status: 429, headers: { 'retry-after': '7200' } }),
  lasting('size_mismatch', 'blob', { append: Buffer.from('more') }),
  lasting('size_mismatch', 'blob', {
    headers: { 'content-length': '3', 'content-range': 'bytes 0-2/3' },
    body: 'abc',
  }),
  lasting('registry_error', 'blob', { redirect: '{path}' }),
  lasting('manifest_unknown', 'manifest', { status: 404 }),
  lasting('unauthorized', 'manifest', { status: 403, error: { code: 'DENIED', message: 'no' } }),
  lasting('invalid_manifest', 'manifest', { body: '<html>', headers: { 'docker-content-digest': undefined } }),
  lasting('digest_mismatch', 'manifest', { headers: { 'docker-content-digest': `sha256:${'0'.repeat(64)}` } }),
  lasting('registry_error', 'manifest', { status: 503 }),
];

function lasting(code: string, where: 'blob' | 'manifest', wrong: Wrong): LastingFault {
  return {
    expected: [code],
    plan: ({ registry, storage }, blob) => {
      const path = where === 'blob' ? `/blobs/${blob}` : '/manifests/';
      for (const host of [registry, storage]) host.plan({ path, ...wrong });
    },
  };
}
