import { chmod, link, lstat, mkdir, mkdtemp, open, rm, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { isNativeError } from 'node:util/types';
import {
  type ImageArchive,
  isImageArchive,
  OciError,
  openArchive,
  parsePlatform,
  type ResolvedArchiveImage,
} from '@bhatti/oci';
import {
  buildRootfs,
  decodeLayer,
  describeLayerFile,
  FREE_SPACE_RESERVE,
  fileDigest,
  type LayerFile,
  limitsOf,
  limitVariables,
  RootfsError,
  type RootfsLimits,
  readLayerIndex,
} from '@bhatti/rootfs';
import { systemErrorName, systemFailure } from '@bhatti/store';
import { counted, formatBytes } from '@bhatti/tasks';
import * as z from 'zod';
import type { Console } from '../terminal/console.ts';
import { mapConcurrently } from './concurrently.ts';
import type { BuildRequest } from './request.ts';

class UsageError extends Error {}

/** Layers decoded at once: each has a thread, and inflates on another. */
const LAYERS_AT_ONCE = availableParallelism();

export interface BuildWorld {
  readonly env: NodeJS.ProcessEnv;
  readonly console: Pick<Console, 'out' | 'err'>;
  readonly signal: AbortSignal;
}

/** `bhatti rootfs build`: from local layers to an ext4, without a server. Resolves with the exit code. */
export async function buildLocally(request: BuildRequest, { env, console, signal }: BuildWorld): Promise<number> {
  try {
    await requireAbsent(request.output);
    if (request.overlay !== undefined) await requireFile(request.overlay, 'is a folder: --overlay takes a tar');
    const limits = readLimits(env);
    // Beside the output: the result is linked into place, and the same disk has to hold it anyway.
    const scratch = await mkdtemp(join(dirname(request.output), '.bhatti-rootfs-'));
    const result = await build({ request, scratch, limits, signal }).finally(() =>
      rm(scratch, { recursive: true, force: true }),
    );
    report(result, request, console);
    return 0;
  } catch (error) {
    if (signal.aborted) return 130;
    console.err(`error: ${explain(error, request)}\n`);
    return 1;
  }
}

/** A build under way. */
interface Work {
  readonly request: BuildRequest;
  /** Folder for what is removed at the end. */
  readonly scratch: string;
  readonly limits: RootfsLimits;
  readonly signal: AbortSignal;
}

interface Result {
  readonly path: string;
  readonly sha256: string;
  readonly size_bytes: number;
  readonly disk_bytes: number;
  readonly entries: number;
  readonly layers: readonly string[];
  readonly warnings: readonly string[];
}

async function build(work: Work): Promise<Result> {
  const { request, scratch, limits, signal } = work;
  const layers = await decodeImage(work);
  if (request.overlay !== undefined) layers.push(await decodeOverlay(work, request.overlay));
  const file = join(scratch, 'rootfs.ext4');
  const built = await buildRootfs({
    layers: layers.map(({ directory }) => directory),
    output: file,
    sizeBytes: request.sizeBytes,
    limits: limits.image,
    signal,
  });
  const sha256 = await hashAndSync(file, signal);
  // Made for its owner alone: until here, it is nobody else's.
  await chmod(file, await usualMode(join(scratch, 'mode')));
  const { blocks } = await stat(file);
  await link(file, request.output);
  return {
    path: request.output,
    sha256,
    size_bytes: built.sizeBytes,
    disk_bytes: blocks * 512,
    entries: built.entries,
    layers: layers.map(({ diffId }) => diffId),
    warnings: built.warnings,
  };
}

/** The limits for layers and images, from the same variables as the server's. An empty variable counts as not set. */
function readLimits(env: NodeJS.ProcessEnv): RootfsLimits {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const parsed = limitVariables.safeParse(given);
  if (parsed.success) return limitsOf(parsed.data);
  throw new UsageError(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
}

interface Layer {
  readonly diffId: string;
  readonly directory: string;
}

async function decodeImage(work: Work): Promise<Layer[]> {
  const { request, scratch } = work;
  const [first = '', ...others] = request.sources;
  if (others.length === 0 && ((await stat(first)).isDirectory() || request.image !== undefined))
    return decodeArchive(work, first);
  for (const source of request.sources) {
    await requireFile(source, 'is a folder: give either one OCI layout, or the tars of the layers, bottom first');
  }
  const layers = await mapConcurrently(request.sources, LAYERS_AT_ONCE, (source, number) =>
    decodeFile(work, source, join(scratch, `layer-${number}`)),
  );
  for (const [number, { directory }] of layers.entries()) {
    if (!isImageArchive(readLayerIndex(directory).entries)) continue;
    if (others.length > 0) {
      throw new UsageError(
        `${request.sources[number]} is an image, not a layer: build it alone, with --overlay for more`,
      );
    }
    await rm(directory, { recursive: true });
    return decodeArchive(work, first);
  }
  if (request.image !== undefined || request.platform !== undefined)
    throw new UsageError(`${first} is a layer: --image and --platform choose from an archive or a layout`);
  return layers;
}

async function decodeOverlay(work: Work, path: string): Promise<Layer> {
  const layer = await decodeFile(work, path, join(work.scratch, 'overlay'));
  if (isImageArchive(readLayerIndex(layer.directory).entries))
    throw new UsageError(`${path} is an image, not a layer: --overlay takes a tar of the files to add`);
  return layer;
}

async function decodeArchive(work: Work, path: string): Promise<Layer[]> {
  const { scratch, signal } = work;
  const { expansionRatio } = work.limits.layer;
  const limits = expansionRatio === undefined ? {} : { expansionRatio };
  const archive = await openArchive(path, { scratchDirectory: scratch, limits, signal });
  try {
    const image = await chooseImage(archive, work);
    return await mapConcurrently(image.layers, LAYERS_AT_ONCE, async ({ descriptor, diffId }, number) => {
      const source = join(scratch, `blob-${number}`);
      await archive.extract(descriptor.digest, source, { signal });
      const file = { size: descriptor.size, compressedDigest: descriptor.digest, diffId };
      const layer = await decode(work, source, file, join(scratch, `layer-${number}`));
      await rm(source);
      return layer;
    });
  } finally {
    await archive.close();
  }
}

async function chooseImage(archive: ImageArchive, { request, signal }: Work): Promise<ResolvedArchiveImage> {
  const { image: name, platform } = request;
  try {
    return await archive.resolve({
      signal,
      ...(name === undefined ? {} : { name }),
      ...(platform === undefined ? {} : { platform: parsePlatform(platform) }),
    });
  } catch (error) {
    const isUnclear = error instanceof OciError && error.code === 'invalid_request' && archive.images.length > 1;
    throw isUnclear ? new UsageError(`${error.message}; --image takes its name`) : error;
  }
}

async function decodeFile(work: Work, source: string, directory: string): Promise<Layer> {
  try {
    const file = await describeLayerFile(source, { limits: work.limits.layer, signal: work.signal });
    return await decode(work, source, file, directory);
  } catch (error) {
    if (!(error instanceof RootfsError)) throw error;
    throw new RootfsError(error.code, `${source}: ${error.message}`, { cause: error });
  }
}

async function decode({ limits, signal }: Work, source: string, layer: LayerFile, directory: string): Promise<Layer> {
  await mkdir(directory);
  await decodeLayer({ ...layer, source, outDirectory: directory, limits: limits.layer, signal });
  return { diffId: layer.diffId, directory };
}

/** The mode that a program's file gets there, by the umask and the folder's default ACL (acl(5)); `path` must not exist. */
async function usualMode(path: string): Promise<number> {
  const file = await open(path, 'wx', 0o666);
  try {
    return (await file.stat()).mode & 0o777;
  } finally {
    await file.close();
  }
}

/** Resolves with the SHA-256 of the file, in hex, once it is synced. */
async function hashAndSync(path: string, signal: AbortSignal): Promise<string> {
  const sha256 = await fileDigest(path, signal);
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  return sha256;
}

async function requireAbsent(path: string): Promise<void> {
  // Any other error here would keep it from being written as well, after all the work.
  const isThere = await lstat(path).then(
    () => true,
    (error: unknown) => {
      if (['ENOENT', 'ENOTDIR'].includes(systemErrorName(error) ?? '')) return false;
      throw error;
    },
  );
  if (isThere) throw new UsageError(`${path} is there already; remove it or choose another with -o`);
  const folder = await stat(dirname(path)).catch(() => undefined);
  if (!folder?.isDirectory()) throw new UsageError(`there is no folder ${dirname(path)}`);
}

/** A tar is read more than once, which a pipe cannot be; and opening one blocks until it has a writer, whatever the signal. */
async function requireFile(path: string, whereFolder: string): Promise<void> {
  const found = await stat(path);
  if (found.isDirectory()) throw new UsageError(`${path} ${whereFolder}`);
  if (!found.isFile())
    throw new UsageError(`${path} is not a file but a pipe or a device: write what it gives to a file first`);
  // A tar without entries has two blocks of zeros; what has no bytes is what is left of a program that failed.
  if (found.size === 0) throw new UsageError(`${path} is empty, and no tar`);
}

function report(result: Result, { json }: BuildRequest, console: BuildWorld['console']): void {
  for (const warning of result.warnings) console.err(`warning: ${warning}\n`);
  if (json) console.out(`${JSON.stringify(result, null, 2)}\n`);
  else {
    console.out(
      `${result.path}: ${formatBytes(result.size_bytes)} (${formatBytes(result.disk_bytes)} on disk), ${counted(result.entries, 'entry', 'entries')}\nsha256:${result.sha256}\n`,
    );
  }
}

function explain(error: unknown, request: BuildRequest): string {
  const system = systemFailure(error)?.code;
  const known = error instanceof RootfsError || error instanceof OciError ? error : undefined;
  if (system === 'no_space' || known?.code === 'no_space')
    return `the disk of ${request.output} is full, but for ${formatBytes(FREE_SPACE_RESERVE)} that stay free; make room and run the same command again (disk_full)`;
  // `internal` is what the libraries have no code for.
  if (known !== undefined)
    return `${known.message} (${known.code === 'internal' && system !== undefined ? 'not_readable' : known.code})`;
  if (error instanceof UsageError) return `${error.message} (invalid_request)`;
  // Not instanceof: a test runs in a realm of its own, and the errors of Node's modules are of another.
  if (isNativeError(error) && 'syscall' in error) {
    const { code, path } = z.object({ code: z.string().catch(''), path: z.string().optional() }).parse(error);
    return path === undefined ? `${error.message} (not_readable)` : `cannot use ${path} (${code}) (not_readable)`;
  }
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
