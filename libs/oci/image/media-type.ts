import { OciError } from '../error.ts';

export type LayerCompression = 'gzip' | 'zstd' | 'none';

const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';
const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';

/** OCI's types, for manifests that are generated here (of archives). */
export const mediaTypes = {
  index: OCI_INDEX,
  manifest: OCI_MANIFEST,
  config: 'application/vnd.oci.image.config.v1+json',
  layer: {
    none: 'application/vnd.oci.image.layer.v1.tar',
    gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
    zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  },
} as const;

/** `Accept` header of manifest requests. Without the list types, a registry answers with a platform of its own choice. */
export const MANIFEST_ACCEPT = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST].join(', ');

const CONFIG_TYPES: ReadonlySet<string> = new Set([
  mediaTypes.config,
  'application/vnd.docker.container.image.v1+json',
]);

/**
 * Config types in Docker manifests of 2016, when a registry kept a media type of its own with each blob, or none. Docker still accepts
 * them as images (moby, `distribution/registry.go`); in an OCI manifest they mean an artifact.
 */
const EARLY_CONFIG_TYPES: ReadonlySet<string> = new Set([
  'application/octet-stream',
  'application/json',
  'text/html',
  '',
]);

/** OCI image spec "Layer", Docker's image manifest v2 schema 2, and the zstd names that BuildKit and Podman write for Docker. */
const LAYER_COMPRESSIONS: ReadonlyMap<string, LayerCompression> = new Map([
  [mediaTypes.layer.none, 'none'],
  [mediaTypes.layer.gzip, 'gzip'],
  [mediaTypes.layer.zstd, 'zstd'],
  ['application/vnd.docker.image.rootfs.diff.tar', 'none'],
  ['application/vnd.docker.image.rootfs.diff.tar.gzip', 'gzip'],
  ['application/vnd.docker.image.rootfs.diff.tar.zstd', 'zstd'],
]);

/** Unsupported types that people do come across, and what they are, so that the error explains itself. */
const KNOWN_REFUSALS: readonly (readonly [pattern: RegExp, what: string])[] = [
  [/oci\.artifact\.manifest/, 'an artifact, not an image'],
  [
    /manifest\.v1\+(json|prettyjws)$/,
    'a Docker schema 1 manifest, which is obsolete; push the image again with a current Docker',
  ],
  [/cncf\.helm/, 'a Helm chart, not an image'],
  [/\+encrypted$|\.encrypted$/, 'an encrypted layer, which cannot be read here'],
  [
    /nondistributable|foreign/,
    'a foreign layer, which the registry does not hold (Windows base images are made of these)',
  ],
  [/cosign|sigstore|dev\.sigstore|in-toto|notary/, 'a signature or an attestation, not an image'],
  [/wasm/, 'a WebAssembly module, not an image'],
  [/oci\.empty\.v1/, 'an artifact without an image config'],
  [/docker\.plugin/, 'a Docker plugin, not an image'],
];

export function isIndexType(mediaType: string): boolean {
  return mediaType === OCI_INDEX || mediaType === DOCKER_LIST;
}

export function isManifestType(mediaType: string): boolean {
  return mediaType === OCI_MANIFEST || mediaType === DOCKER_MANIFEST;
}

/** Docker's image manifest v2 schema 1, signed or not. */
export function isSchema1(mediaType: string): boolean {
  return /^application\/vnd\.docker\.distribution\.manifest\.v1\+(?:json|prettyjws)$/.test(mediaType);
}

/** @param manifestType media type of the manifest that names the config */
export function isConfigType(mediaType: string, manifestType: string): boolean {
  return CONFIG_TYPES.has(mediaType) || (manifestType === DOCKER_MANIFEST && EARLY_CONFIG_TYPES.has(mediaType));
}

/** How a layer of this media type is compressed; undefined when it is not a layer that can be unpacked. */
export function layerCompression(mediaType: string): LayerCompression | undefined {
  return LAYER_COMPRESSIONS.get(mediaType);
}

/**
 * The error for something that is not a runnable image: names the media type, and says what it is where that is known.
 *
 * @param part which part of the image has the type, as in `its config`
 */
export function unsupportedMediaType(name: string, part: string, mediaType: string): OciError {
  const shown = JSON.stringify(mediaType.slice(0, 200));
  const known = KNOWN_REFUSALS.find(([pattern]) => pattern.test(mediaType))?.[1];
  const reason = known === undefined ? '' : `: this is ${known}`;
  return new OciError('unsupported_media_type', `${name} cannot be pulled: ${part} has media type ${shown}${reason}`);
}

/** The type of a `Content-Type` header without parameters, in lower case: `text/html; charset=utf-8` is `text/html`. */
export function bareMediaType(header: string | undefined): string {
  return (header ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}
