/** Public face of @bhatti/oci: references, and images read from OCI registries. See README.md. */
export { createRegistryClient, type RegistryClient, type RegistryClientOptions } from './client.ts';
export { type Credentials, parseAuthFlag } from './credentials.ts';
export { dockerConfigCredentials } from './docker-config.ts';
export type { DownloadOptions } from './download.ts';
export { OciError, type OciErrorCode, type OciErrorDetails } from './error.ts';
export type { ImageConfig } from './image-config.ts';
export type { Descriptor } from './manifest.ts';
export type { LayerCompression } from './media-type.ts';
export { formatPlatform, hostPlatform, type Platform, parsePlatform } from './platform.ts';
export { familiarReference, formatReference, parseReference, type Reference } from './reference.ts';
export type { CredentialSource } from './registry-api.ts';
export type { ResolvedImage, ResolvedLayer, ResolveOptions } from './resolver.ts';
export type { RetryNotice, RetryOptions } from './retry.ts';
