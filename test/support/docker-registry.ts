/** The distribution project's registry (Debian's `docker-registry`), which many registries use, on a loopback port of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Agent, request } from 'undici';

export interface DockerRegistryOptions {
  /** Ask for HTTP Basic with these; the htpasswd file holds the bcrypt hash. */
  readonly htpasswd?: { readonly username: string; readonly password: string; readonly hash: string };
  /** Serve HTTPS with this key and certificate (PEM), signed by the authority. */
  readonly tls?: { readonly key: string; readonly cert: string; readonly authority: string };
}

export interface Content {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** Any manifest or index; it is pushed under its own media type. */
export interface Manifest {
  readonly schemaVersion: 2;
  readonly mediaType: string;
  readonly [field: string]: unknown;
}

export interface DockerRegistry {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  readonly port: number;
  pushBlob(repository: string, bytes: Buffer, mediaType: string): Promise<Content>;
  /** @param name a tag, or a digest for manifests that an index lists */
  pushManifest(repository: string, name: string | undefined, manifest: Manifest): Promise<Content>;
  close(): Promise<void>;
}

export async function startDockerRegistry({ htpasswd, tls }: DockerRegistryOptions = {}): Promise<DockerRegistry> {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-docker-registry-'));
  const file = async (name: string, content: string): Promise<string> => {
    await writeFile(join(directory, name), content);
    return join(directory, name);
  };
  const tlsFiles = tls && { certificate: await file('cert.pem', tls.cert), key: await file('key.pem', tls.key) };
  const names = htpasswd && (await file('htpasswd', `${htpasswd.username}:${htpasswd.hash}\n`));
  // JSON is YAML.
  const config = JSON.stringify({
    version: '0.1',
    log: { level: 'info', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(directory, 'data') } },
    http: { addr: '127.0.0.1:0', ...(tlsFiles && { tls: tlsFiles }) },
    ...(names !== undefined && { auth: { htpasswd: { realm: 'test', path: names } } }),
  });
  const child = spawn('docker-registry', ['serve', await file('config.yml', config)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const port = await listeningPort(child);
  const origin = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
  const agent = new Agent(tls === undefined ? {} : { connect: { ca: tls.authority } });
  const authorization =
    htpasswd && `Basic ${Buffer.from(`${htpasswd.username}:${htpasswd.password}`).toString('base64')}`;

  async function send(method: 'POST' | 'PUT', path: string | URL, body?: Buffer, type = 'application/octet-stream') {
    const url = new URL(path, origin);
    const headers = { 'content-type': type, ...(authorization !== undefined && { authorization }) };
    const answer = await request(url, { method, dispatcher: agent, headers, body: body ?? null });
    const text = await answer.body.text();
    if (answer.statusCode >= 300) throw new Error(`${method} ${url.pathname}: ${answer.statusCode} ${text}`);
    return answer.headers;
  }

  return {
    host: `127.0.0.1:${port}`,
    port,
    async pushBlob(repository, bytes, mediaType) {
      const { location } = await send('POST', `/v2/${repository}/blobs/uploads/`);
      const upload = new URL(String(location), origin);
      const digest = sha256(bytes);
      upload.searchParams.set('digest', digest);
      await send('PUT', upload, bytes);
      return { mediaType, digest, size: bytes.length };
    },
    async pushManifest(repository, name, manifest) {
      const bytes = Buffer.from(JSON.stringify(manifest));
      const digest = sha256(bytes);
      await send('PUT', `/v2/${repository}/manifests/${name ?? digest}`, bytes, manifest.mediaType);
      return { mediaType: manifest.mediaType, digest, size: bytes.length };
    },
    async close() {
      await agent.destroy();
      if (child.exitCode === null && child.signalCode === null) {
        const ended = once(child, 'exit');
        child.kill('SIGKILL');
        await ended;
      }
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Reads from the registry's log which port it got. */
function listeningPort(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    const lines: string[] = [];
    child.on('error', (error) =>
      reject(
        new Error('docker-registry cannot be run; `scripts/setup.sh docker-registry` installs it', { cause: error }),
      ),
    );
    child.on('exit', (status) => reject(new Error(`docker-registry ended with ${status}:\n${lines.join('\n')}`)));
    if (child.stderr === null) return;
    // Keep reading, as the registry would block on a full pipe.
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (lines.length < 100) lines.push(line);
      const port = /listening on 127\.0\.0\.1:([0-9]+)/.exec(line)?.[1];
      if (port !== undefined) resolve(Number(port));
    });
  });
}

function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
