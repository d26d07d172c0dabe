import { Random } from '../random.ts';
import { type Aftermath, countBy, inspect } from './aftermath.ts';
import { Demand } from './demand.ts';
import { pushImages } from './image-set.ts';
import { Installation } from './installation.ts';
import { Mischief } from './mischief.ts';

/** Of each download. A layer takes up to ten seconds, so that there is always one to disturb. */
const BYTES_PER_SECOND = 300_000;

export interface ChaosOptions {
  readonly seed: number;
  /** Pulls and imports in all. */
  readonly tasks: number;
  /** Ms between two pieces of mischief, at most. */
  readonly pause: number;
  /** Pieces of mischief that are done even when all tasks have been asked for. */
  readonly minimumMischief: number;
  /** Pieces after which tasks are left in peace: a slow machine asks for long. No limit where it is left out. */
  readonly maximumMischief?: number;
  /** Bytes of the disk. To fill one takes a second of CPU time for each GB. */
  readonly diskBytes: number;
  /** Processes; at least two, as one takes over from the other. */
  readonly workers: number;
  readonly onEvent?: (line: string) => void;
}

export interface ChaosReport extends Aftermath {
  /** How often each piece of mischief was done. */
  readonly mischief: Readonly<Record<string, number>>;
  readonly accepted: Readonly<Record<string, number>>;
}

/** Runs workers, an API, Redis and a registry, harms them at random, and then checks from outside what is left. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { seed, tasks, pause, minimumMischief, maximumMischief, diskBytes, workers, onEvent = () => {} } = options;
  const random = new Random(seed);
  const installation = await Installation.open(diskBytes, workers);
  let keepLogs = false;
  try {
    const images = await pushImages(installation.registry, random, Math.max(4, Math.ceil(tasks / 3)));
    installation.fetched.watch(images);
    installation.registry.plan({ path: '/blobs/', bytesPerSecond: BYTES_PER_SECOND });
    installation.start();
    const demand = new Demand(installation.client, images, { seed, tasks, pause: pause / 4 });
    const mischief = new Mischief(installation, demand, random, { pause, minimumMischief, maximumMischief, onEvent });
    const asking = demand.run();
    // Awaited below, after the mischief; until then a failure must not end the process, which has to clean up.
    asking.catch(() => {});
    await mischief.run();
    await asking;
    await mischief.idle();
    onEvent('the mischief is over');
    installation.start();
    const aftermath = await inspect(installation, demand);
    keepLogs = aftermath.violations.length > 0;
    if (keepLogs) onEvent(`logs are in ${installation.directory}`);
    const accepted = countBy([...demand.accepted.values()].map(({ type }) => type));
    return { mischief: mischief.counts, accepted, ...aftermath };
  } finally {
    await installation.close({ keepLogs });
  }
}
