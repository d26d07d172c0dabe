import { hostname } from 'node:os';
import type { LocalPaths } from '../local-paths.ts';
import { otherHost } from '../server/other-host.ts';
import { healthOf } from './api-health.ts';
import { type ApiAddress, readApiAddress, readStackState } from './stack-state.ts';

export interface LoneApi extends ApiAddress {
  /** The host that it runs on, if that is not this one. */
  readonly otherHost?: string;
}

/**
 * The API that uses the data directory without a stack around it, as `bhatti serve --role api` runs it, on this host or on another
 * one; undefined if there is none. One that is still on its way out after its stack was killed does not count.
 */
export async function loneApi(paths: LocalPaths): Promise<LoneApi | undefined> {
  const address = await readApiAddress(paths.apiFile);
  if ((await healthOf(paths)) === undefined) {
    const host = await otherHost(paths.apiFile);
    return host === undefined ? undefined : { ...address, otherHost: host };
  }
  const left = await readStackState(paths.stateFile);
  if (left?.children.some(({ process }) => process.pid === address.pid)) return undefined;
  // In a container it has another host name, and its socket answers here all the same.
  return address.host === undefined || address.host === hostname() ? address : { ...address, otherHost: address.host };
}
