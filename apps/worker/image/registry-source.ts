import { type Credentials, type Descriptor, parsePlatform, parseReference, type RegistryClient } from '@bhatti/oci';
import type { PullJobData } from '@bhatti/tasks';
import type { DownloadLayerOptions, ImageSource, SourceImage } from './image-source.ts';

export interface RegistrySourceOptions {
  readonly registry: RegistryClient;
  readonly data: PullJobData;
  readonly credentials: Credentials | undefined;
  readonly signal: AbortSignal;
}

/** The image that a reference points to now. */
export function registrySource({ registry, data, credentials, signal }: RegistrySourceOptions): ImageSource {
  const reference = parseReference(data.reference);
  const platform = data.platform === undefined ? undefined : parsePlatform(data.platform);
  const options = { signal, credentials, platform };
  return {
    kind: 'registry',
    opening: { phase: 'resolving', line: 'resolving manifest...' },
    reference: data.reference,
    isUnchanged: (known) => registry.isUnchanged(reference, known, options),
    resolve: (): Promise<SourceImage> => registry.resolve(reference, options),
    download: (descriptor: Descriptor, path: string, { again, ...rest }: DownloadLayerOptions) =>
      registry.download(reference, descriptor, path, { credentials, avoidMirrors: again, ...rest }),
    close: async () => {},
  };
}
