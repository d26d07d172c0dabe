/** Checks docker-compose.yml against the Dockerfile, the documentation and the build, and with Docker Compose where installed. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import * as z from 'zod';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(`${root}/${path}`, 'utf8');

const service = z.object({
  image: z.string(),
  build: z.string().optional(),
  command: z.array(z.string()),
  environment: z.record(z.string(), z.string()).default({}),
  ports: z.array(z.string()).default([]),
  volumes: z.array(z.string()),
  // A second worker could not have the same name.
  container_name: z.undefined().optional(),
  depends_on: z.record(z.string(), z.object({ condition: z.string() })).default({}),
  healthcheck: z.object({ test: z.array(z.string()) }),
  read_only: z.boolean().optional(),
  tmpfs: z.array(z.string()).default([]),
  stop_grace_period: z.string().optional(),
});
const compose = z.object({
  services: z.object({ redis: service, api: service, worker: service }),
  volumes: z.record(z.string(), z.unknown()),
});

/** Its last stage, which is what runs. */
const dockerfile =
  read('Dockerfile')
    .split(/^FROM /m)
    .at(-1) ?? '';
const instruction = (name: string) => new RegExp(`^${name} (.+)$`, 'm').exec(dockerfile)?.[1] ?? '';

describe('docker-compose.yml', () => {
  const { services, volumes } = compose.parse(parse(read('docker-compose.yml'), { merge: true }));
  const { redis, api, worker } = services;

  test('runs programs that the build makes, out of one image', () => {
    for (const { command, build, image } of [api, worker]) {
      expect(command[0]).toBe('node');
      expect(existsSync(`${root}/${command[1]}`)).toBe(true);
      expect([build, image]).toEqual(['.', api.image]);
    }
    expect(JSON.parse(instruction('CMD'))).toEqual(api.command);
  });

  test('sets variables that are documented, and none that nobody reads', () => {
    const pages = ['apps/api/README.md', 'apps/worker/README.md', 'docs/operating.md', 'docs/registries.md'].map(read);
    const names = [api, worker].flatMap(({ environment }) => Object.keys(environment));
    expect(names).toEqual(expect.arrayContaining(['REDIS_URL', 'BHATTI_DATA_DIR', 'BHATTI_LISTEN']));
    expect(names.filter((name) => !pages.some((page) => page.includes(`\`${name}`)))).toEqual([]);
  });

  test('keeps the data where the image has it, and Redis where Redis writes', () => {
    const directory = instruction('VOLUME');
    expect(instruction('ENV')).toContain(`BHATTI_DATA_DIR=${directory}`);
    for (const { volumes: mounted, environment } of [api, worker]) {
      expect(environment.BHATTI_DATA_DIR).toBe(directory);
      expect(mounted).toEqual([`data:${directory}`]);
    }
    expect(redis.volumes).toEqual(['redis:/data']);
    expect(Object.keys(volumes).sort()).toEqual(['data', 'redis']);
  });

  test('publishes the port that the API listens on, to this machine only; workers none, so that they scale', () => {
    const port = instruction('EXPOSE');
    expect(api.environment.BHATTI_LISTEN).toBe(`0.0.0.0:${port}`);
    expect(api.ports).toEqual([`127.0.0.1:${port}:${port}`]);
    expect([worker.ports, redis.ports]).toEqual([[], []]);
    expect(api.healthcheck.test.join(' ')).toContain(`http://127.0.0.1:${port}/health`);
  });

  test('has a Redis that loses no task, by its own name, there before the others', () => {
    expect(redis.command.join(' ')).toMatch(/--appendonly yes .*--maxmemory-policy noeviction/);
    for (const { environment, depends_on: needs } of [api, worker]) {
      expect(environment.REDIS_URL).toBe('redis://redis:6379/0');
      expect(needs).toEqual({ redis: { condition: 'service_healthy' } });
    }
  });

  test('checks health by a command that Podman, too, runs as it is written', () => {
    for (const { healthcheck } of [redis, api, worker]) {
      const [kind, ...words] = healthcheck.test;
      // Of CMD, Podman's Docker API takes words with spaces apart.
      if (kind !== 'CMD-SHELL') expect([kind, words]).toEqual(['CMD', words.filter((word) => !word.includes(' '))]);
      else expect(spawnSync('sh', ['-n', '-c', ...words])).toMatchObject({ status: 0 });
    }
  });

  test('runs without privileges, and gives programs the time that they take to stop', () => {
    expect(instruction('USER')).toBe('node');
    for (const { read_only: readOnly, tmpfs, stop_grace_period: grace = '0s' } of [api, worker]) {
      expect([readOnly, tmpfs]).toEqual([true, ['/tmp']]);
      // Both programs exit by force before that.
      expect(Number.parseInt(grace, 10)).toBeGreaterThanOrEqual(10);
    }
  });

  // The plugin of docker, or Debian's separate program; neither needs an engine for this.
  const composeCommand = [['docker', 'compose'], ['docker-compose']].find(
    ([program = '', ...words]) => spawnSync(program, [...words, 'version']).status === 0,
  );
  if (composeCommand === undefined) {
    process.stderr.write('skipped: docker compose config, because there is no docker compose\n');
  }
  (composeCommand === undefined ? test.skip : test)('is what Docker takes for a project', () => {
    const [program = '', ...words] = composeCommand ?? [];
    const names = execFileSync(program, [...words, 'config', '--services'], { cwd: root, encoding: 'utf8' });
    expect(names.trim().split('\n').sort()).toEqual(['api', 'redis', 'worker']);
  });
});
