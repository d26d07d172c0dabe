/** Public face of @bhatti/oci: references, and images read from OCI registries. See README.md. */

export {
  type ArchiveSelection,
  type ExtractOptions,
  type ImageArchive,
  type OpenArchiveOptions,
  openArchive,
  type ResolvedArchiveImage,
} from './archive/archive.ts';
export { readArchiveNames } from './archive/archive-names.ts';
export { ARCHIVE_HEAD_BYTES, type ArchiveLimits, archiveCompression } from './archive/decompress.ts';
export { isImageArchive } from './archive/image-archive.ts';
export { imagesCalled } from './archive/image-choice.ts';
export { type Credentials, parseAuthFlag } from './authentication/credentials.ts';
export { dockerConfigCredentials } from './authentication/docker-config.ts';
export { createRegistryClient, type RegistryClient, type RegistryClientOptions } from './client.ts';
export type { AddressPolicy, AddressScope } from './connection/address-policy.ts';
export { isLoopbackHost } from './connection/host.ts';
export { type ProxySettings, proxyFor } from './connection/proxy.ts';
export type { DownloadOptions } from './download/download.ts';
export { OciError, type OciErrorCode, type OciErrorDetails } from './error.ts';
export type { ImageConfig } from './image/image-config.ts';
export type { Descriptor } from './image/manifest.ts';
export type { LayerCompression } from './image/media-type.ts';
export { formatPlatform, hostPlatform, type Platform, parsePlatform } from './image/platform.ts';
export { formatReference, parseReference, type Reference } from './image/reference.ts';
export { type OperatorSettingsOptions, readOperatorSettings } from './registry/operator-settings.ts';
export type { CredentialSource } from './registry/registry-api.ts';
export type { RegistrySettings } from './registry/registry-settings.ts';
export type { Resolution } from './registry/resolution.ts';
export type { ResolvedImage, ResolvedLayer, ResolveOptions } from './registry/resolver.ts';
export type { RetryNotice, RetryOptions } from './registry/retry.ts';
