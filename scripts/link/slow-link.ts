/** A network of two hosts, this one and a network namespace, with a slow link between them. Takes root, ip (iproute2) and python3. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export interface LinkSettings {
  /** Of IP packets, in each direction. */
  readonly bitsPerSecond: number;
  /** There and back. */
  readonly roundTripMs: number;
  /** Bytes of a packet. A carrier on one core manages some 20,000 packets a second. */
  readonly mtu: number;
  /** Congestion control of the far host, as `net.ipv4.tcp_available_congestion_control` names it. */
  readonly congestionControl: string;
}

export interface SlowLink {
  /** Of the namespace. */
  readonly address: string;
  /** The command that runs another one in the namespace. */
  readonly within: readonly string[];
  close(): Promise<void>;
}

const NETWORK = '10.211.7.0';
const NEAR = '10.211.7.1';
const FAR = '10.211.7.2';
const carrier = fileURLToPath(new URL('carrier.py', import.meta.url));

export async function startSlowLink(settings: LinkSettings): Promise<SlowLink> {
  const { bitsPerSecond, roundTripMs, mtu, congestionControl } = settings;
  const namespace = `bhatti-link-${process.pid}`;
  const near = `bhn${process.pid}`;
  const far = `bhf${process.pid}`;
  // Twice the bandwidth-delay product: routers have that much or more.
  const queueBytes = Math.max(64 * 1024, Math.round(((bitsPerSecond / 8) * roundTripMs * 2) / 1000));
  const args = [near, far, bitsPerSecond, roundTripMs, queueBytes].map(String);
  const relay = spawn('python3', [carrier, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(relay, 'exit');
  const close = async () => {
    relay.kill();
    await ended;
    spawnSync('ip', ['netns', 'del', namespace]);
  };
  try {
    const [said] = await Promise.race([once(relay.stdout, 'data'), ended]);
    if (!String(said).includes('ready')) throw new Error('no TUN devices can be made here; it takes root');
    ip('netns', 'add', namespace);
    ip('link', 'set', far, 'netns', namespace);
    ip('address', 'add', `${NEAR}/30`, 'dev', near);
    ip('link', 'set', near, 'mtu', String(mtu), 'up');
    ip('-n', namespace, 'address', 'add', `${FAR}/30`, 'dev', far);
    ip('-n', namespace, 'link', 'set', far, 'mtu', String(mtu), 'up');
    ip('-n', namespace, 'link', 'set', 'lo', 'up');
    // On the route: a namespace may not set every algorithm as its default.
    const route = [`${NETWORK}/30`, 'dev', far, 'src', FAR, 'congctl', congestionControl];
    ip('-n', namespace, 'route', 'replace', ...route);
  } catch (error) {
    await close();
    throw error;
  }
  return { address: FAR, within: ['ip', 'netns', 'exec', namespace], close };
}

function ip(...args: string[]): void {
  const { status, stderr, error } = spawnSync('ip', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${args.join(' ')} failed: ${stderr}`, { cause: error });
}
