/** Public face of @bhatti/oci: references, and images read from OCI registries. See README.md. */

export type { AddressPolicy, AddressScope } from './address-policy.ts';
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
export { createRegistryClient, type RegistryClient, type RegistryClientOptions } from './client.ts';
export { type Credentials, parseAuthFlag } from './credentials.ts';
export { dockerConfigCredentials } from './docker-config.ts';
export type { DownloadOptions } from './download.ts';
export { OciError, type OciErrorCode, type OciErrorDetails } from './error.ts';
export { isLoopbackHost } from './host.ts';
export type { ImageConfig } from './image-config.ts';
export type { Descriptor } from './manifest.ts';
export type { LayerCompression } from './media-type.ts';
export { type OperatorSettingsOptions, readOperatorSettings } from './operator-settings.ts';
export { formatPlatform, hostPlatform, type Platform, parsePlatform } from './platform.ts';
export { type ProxySettings, proxyFor } from './proxy.ts';
export { formatReference, parseReference, type Reference } from './reference.ts';
export type { CredentialSource } from './registry-api.ts';
export type { RegistrySettings } from './registry-settings.ts';
export type { Resolution } from './resolution.ts';
export type { ResolvedImage, ResolvedLayer, ResolveOptions } from './resolver.ts';
export type { RetryNotice, RetryOptions } from './retry.ts';
