/** The data directory: layer cache, root filesystems, image catalog, users, with atomic publishing and garbage collection. */
export { createApiToken, isApiToken } from './api-token.ts';
export type { ContentEntry } from './content-folder.ts';
export { type DataDirectoryChoice, homeDirectory, resolveDataDirectory } from './data-directory.ts';
export { StoreError, type StoreErrorCode } from './error.ts';
export { type EvictOptions, evictLayer, evictLayers } from './eviction.ts';
export { makeFolders } from './folder.ts';
export type { ImageCatalog } from './image-catalog.ts';
export { ImageConfigRecord, ImageEntry } from './image-entry.ts';
export type { LayerCache } from './layer-cache.ts';
export type { PartialFiles } from './partial-files.ts';
export { type StorePaths, storePaths } from './paths.ts';
export type { Publication } from './publication.ts';
export { RootfsRecord } from './rootfs-record.ts';
export type { RootfsPublication, RootfsStore } from './rootfs-store.ts';
export { openStore, type Store } from './store.ts';
export { type SystemFailure, systemFailure } from './system-failure.ts';
export type { Uploads } from './uploads.ts';
export { LOCAL_USER, type User, UserList, type UserWithToken } from './user-list.ts';
