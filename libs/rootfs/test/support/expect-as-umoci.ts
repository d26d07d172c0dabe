import { describeStack, type LayerStack } from './arbitrary-layers.ts';
import { differences, type ListedNode } from './listing.ts';
import { listDirectory } from './mounted.ts';
import { modelTree } from './oci-model.ts';
import type { TarEntry } from './tar-entry.ts';
import { withTemporaryDirectory } from './temporary-directory.ts';
import { unpackWithUmoci } from './umoci.ts';

/** Unpacks the layers with umoci: throws unless that is what the model says. */
export async function expectModelAsUmoci(stack: LayerStack): Promise<void> {
  const { unpacked, expected, ignoreTime, layers } = await unpackedAndModel(stack.layers);
  const found = differences(unpacked, expected, { ignoreTime });
  if (found.length > 0) throw new Error(`${found.join('\n')}\n${describeStack({ layers })}`);
}

/** What umoci makes of layers, as far as it can read them, and what the model does. */
export async function unpackedAndModel(stack: readonly (readonly TarEntry[])[]) {
  const layers = asUmociCan(stack);
  return await withTemporaryDirectory(async (scratch) => {
    const started = nanoseconds() - 60_000_000_000n;
    const unpacked = await listDirectory(await unpackWithUmoci(scratch, layers));
    const finished = nanoseconds() + 60_000_000_000n;
    // Directories that umoci made of itself, or changed more than one level below, carry its own clock.
    const ignoreTime = ({ type, mtime = 0n }: ListedNode) =>
      type === 'directory' && mtime > started && mtime < finished;
    return { unpacked, expected: modelTree(layers), ignoreTime, layers };
  });
}

/**
 * umoci does not know GNU's old sparse form, attributes without a value (Docker and Podman do), nor times from 2262 on, when nanoseconds
 * need more than 63 bits. And a parent that it makes of itself gets the group and the setgid bit of the directory around it, because the kernel gives it those.
 */
function asUmociCan(layers: readonly (readonly TarEntry[])[]): TarEntry[][] {
  return layers.map((layer) =>
    layer.map((entry) => ({
      ...entry,
      mode: entry.type === 'directory' ? (entry.mode ?? 0o755) & ~0o2000 : entry.mode,
      mtime: (entry.mtime ?? 0n) < 2n ** 63n ? entry.mtime : 9_000_000_000n * 1_000_000_000n,
      xattrs: entry.xattrs?.filter(([, value]) => value.length > 0),
      encoding: entry.encoding?.sparse === 'gnu' ? {} : entry.encoding,
    })),
  );
}

function nanoseconds(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
