/** A real registry (docker-registry, the reference implementation), on loopback unless told otherwise, and images pushed to it. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod';

export interface LoopbackRegistry {
  /** `127.0.0.1:<port>` */
  readonly host: string;
  close(): Promise<void>;
}

export interface LoopbackRegistryOptions {
  /** `host:port` to listen on. Default: a free port of 127.0.0.1. */
  readonly host?: string;
  /** A command, with arguments, to run the registry with, such as one that enters another network namespace. */
  readonly within?: readonly string[];
}

export interface LayerBlob {
  /** The tar, compressed by gzip. */
  readonly blob: Buffer;
  /** `sha256:<hex>` of the tar. */
  readonly diffId: string;
}

/** Milliseconds for the registry to answer. */
const START_TIMEOUT = 10_000;

const address = z.object({ port: z.number() });

/** Starts a registry that keeps its blobs in the directory, and serves those that are there already. */
export async function startLoopbackRegistry(
  directory: string,
  { host: asked, within = [] }: LoopbackRegistryOptions = {},
): Promise<LoopbackRegistry> {
  const host = asked ?? `127.0.0.1:${await freePort()}`;
  await mkdir(directory, { recursive: true });
  const config = join(directory, 'config.yml');
  await writeFile(
    config,
    [
      'version: 0.1',
      'log: { level: error, accesslog: { disabled: true } }',
      `storage: { filesystem: { rootdirectory: ${join(directory, 'blobs')} } }`,
      `http: { addr: "${host}" }`,
      '',
    ].join('\n'),
  );
  const [program = '', ...args] = [...within, 'docker-registry', 'serve', config];
  const registry = spawn(program, args, { stdio: 'ignore' });
  const ended = once(registry, 'exit');
  const failed = ended.then(() => Promise.reject(new Error('docker-registry ended as soon as it was started')));
  await Promise.race([answers(`http://${host}/v2/`), failed]);
  failed.catch(() => {});
  return {
    host,
    close: async () => {
      registry.kill();
      await ended;
    },
  };
}

async function answers(url: string): Promise<void> {
  for (const deadline = Date.now() + START_TIMEOUT; ; await sleep(50)) {
    try {
      if ((await fetch(url)).ok) return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}

/** Finds a free port in advance, as the registry has no way to tell which one it got. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = address.parse(server.address());
  server.close();
  await once(server, 'close');
  return port;
}

const manifestSchema = z.object({ layers: z.array(z.object({ digest: z.string(), size: z.number() })) });

/** Digests and sizes (bytes) of an image's compressed layers, bottom first. */
export async function layersOf(host: string, repository: string, tag: string) {
  const accept = 'application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json';
  const answer = await fetch(`http://${host}/v2/${repository}/manifests/${tag}`, { headers: { accept } });
  return manifestSchema.parse(await answer.json()).layers;
}

/** Pushes an image for this machine's architecture. Returns the digest of its manifest. */
export async function pushImage(host: string, repository: string, tag: string, layers: LayerBlob[]): Promise<string> {
  const config = Buffer.from(
    JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: { Cmd: ['/bin/sh'], Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'] },
      rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    }),
  );
  for (const blob of [config, ...layers.map((layer) => layer.blob)]) await pushBlob(host, repository, blob);
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: descriptor('application/vnd.oci.image.config.v1+json', config),
      layers: layers.map(({ blob }) => descriptor('application/vnd.oci.image.layer.v1.tar+gzip', blob)),
    }),
  );
  await sent(
    `http://${host}/v2/${repository}/manifests/${tag}`,
    'application/vnd.oci.image.manifest.v1+json',
    manifest,
  );
  return sha256(manifest);
}

async function pushBlob(host: string, repository: string, blob: Buffer): Promise<void> {
  const started = await fetch(`http://${host}/v2/${repository}/blobs/uploads/`, { method: 'POST' });
  const location = new URL(started.headers.get('location') ?? '', `http://${host}`);
  location.searchParams.set('digest', sha256(blob));
  await sent(location.href, 'application/octet-stream', blob);
}

async function sent(url: string, type: string, body: Buffer): Promise<void> {
  const response = await fetch(url, { method: 'PUT', headers: { 'content-type': type }, body: new Uint8Array(body) });
  if (!response.ok) throw new Error(`the registry answered ${response.status}: ${await response.text()}`);
}

function descriptor(mediaType: string, bytes: Buffer): { mediaType: string; digest: string; size: number } {
  return { mediaType, digest: sha256(bytes), size: bytes.length };
}

export function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
