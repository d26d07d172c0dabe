import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { parseReference, readOperatorSettings } from '../index.ts';
import { makeCertificates } from './support/certificate.ts';
import { failure, random, useFixture } from './support/fixture.ts';

const fixture = useFixture();
let directory: string;
let authority: string;
let cert: string;
let key: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-settings-'));
  const certificates = join(directory, 'tls');
  await mkdir(certificates);
  ({ authority, cert, key } = await makeCertificates(certificates));
  await writeFile(join(directory, 'ca.pem'), authority);
});
afterAll(() => rm(directory, { recursive: true }));

const read = async (yaml: string, environment: NodeJS.ProcessEnv = {}) => {
  await writeFile(join(directory, 'registries.yaml'), yaml);
  return readOperatorSettings(environment, directory);
};

test('nothing set, for a local API: loopback and all else may be asked', async () => {
  const local = { defaultListen: '127.0.0.1:8080' };
  expect(await readOperatorSettings({}, await fixture.directory(), local)).toMatchObject({
    registries: {},
    addressPolicy: { deny: [], allowHosts: [] },
  });
});

test('logins are those of the home that the environment names', async () => {
  const home = await fixture.directory();
  await mkdir(join(home, '.docker'));
  const auth = Buffer.from('ann:secret').toString('base64');
  await writeFile(join(home, '.docker', 'config.json'), JSON.stringify({ auths: { 'registry.internal': { auth } } }));
  const { credentialSource } = await read('', { HOME: home });
  expect(await credentialSource?.(parseReference('registry.internal/app:1'))).toMatchObject({ username: 'ann' });
});

test('the file', async () => {
  const settings = await read(`
registries:
  registry.internal:5000: { insecure: true }
  ghcr.io: { ca: ca.pem, mirrors: [mirror.internal/ghcr] }
  internal.example: { client_certificate: { cert: tls/cert.pem, key: tls/key.pem } }
ca: [ca.pem]
addresses: { deny: [private], allow: [10.0.0.1:5000] }
connections_per_host: 3
stall_timeout: 7.5
`);
  expect(settings).toMatchObject({
    registries: {
      'registry.internal:5000': { insecure: true },
      'ghcr.io': { certificateAuthorities: [authority], mirrors: ['mirror.internal/ghcr'] },
      'internal.example': { clientCertificate: { cert, key } },
    },
    certificateAuthorities: [authority],
    addressPolicy: { deny: ['private'], allowHosts: ['10.0.0.1:5000'] },
    connectionsPerHost: 3,
    stallTimeoutMs: 7500,
  });
});

test('the environment goes before the file', async () => {
  const environment = {
    BHATTI_INSECURE_REGISTRIES: 'a.internal, b.internal:5000',
    BHATTI_DENY_ADDRESSES: 'loopback,link-local',
    BHATTI_ALLOW_HOSTS: '127.0.0.1:5000',
  };
  expect(await read('addresses: { deny: [public], allow: [x.example] }', environment)).toMatchObject({
    insecureRegistries: ['a.internal', 'b.internal:5000'],
    addressPolicy: { deny: ['loopback', 'link-local'], allowHosts: ['127.0.0.1:5000'] },
  });
});

test.each([
  ['0.0.0.0:8080', true],
  ['[::]:8080', true],
  ['10.1.2.3:80', true],
  ['server.example:8080', true],
  ['127.0.0.1:8080', false],
  ['[::1]:8080', false],
  ['localhost:8080', false],
  [':8080', false],
  ['none', false],
])('an API that listens on %j is open: %s', async (BHATTI_LISTEN, isOpen) => {
  const { addressPolicy } = await read('', { BHATTI_LISTEN });
  expect(addressPolicy?.deny).toEqual(isOpen ? ['loopback', 'link-local'] : []);
  expect((await read('', { BHATTI_LISTEN, BHATTI_DENY_ADDRESSES: 'none' })).addressPolicy?.deny).toEqual([]);
});

test.each(['', ' ', undefined])(
  'BHATTI_LISTEN %j is not set: open, unless it is known what stands for it',
  async (unset) => {
    const environment = { BHATTI_LISTEN: unset };
    const directory = await fixture.directory();
    const policy = async (defaultListen?: string) =>
      (await readOperatorSettings(environment, directory, { defaultListen })).addressPolicy;
    expect(await policy()).toEqual({ deny: ['loopback', 'link-local'], allowHosts: [] });
    expect(await policy('127.0.0.1:8080')).toEqual({ deny: [], allowHosts: [] });
    expect(await policy('0.0.0.0:8080')).toEqual({ deny: ['loopback', 'link-local'], allowHosts: [] });
  },
);

test('a client made of them keeps to them', async () => {
  const registry = await fixture.registry();
  const image = registry.pushImage({ repository: 'team/app', layers: [{ tar: random(10) }] });
  const reference = parseReference(image.reference);
  const open = { BHATTI_LISTEN: '0.0.0.0:8080' };
  expect(await failure(fixture.client(await read('', open)).resolve(reference))).toMatchObject({
    code: 'address_denied',
    message: expect.stringContaining('BHATTI_ALLOW_HOSTS'),
  });
  expect(registry.requests).toEqual([]);
  const allowing = fixture.client(await read('', { ...open, BHATTI_ALLOW_HOSTS: registry.host }));
  expect(await allowing.resolveDigests(reference)).toMatchObject({ manifestDigest: image.digest });
});

test.each([
  ['registries: { ghcr.io: { insecur: true } }', 'registries.ghcr.io: Unrecognized key: "insecur"'],
  ['registries: { ghcr.io: { mirrors: [https://mirror.example] } }', 'leave out the scheme'],
  ['ca: none.pem', 'cannot read the file none.pem'],
  ['ca: registries.yaml', 'is not a PEM certificate'],
  [
    'registries: { ghcr.io: { client_certificate: { cert: ca.pem, key: ca.pem } } }',
    'the client certificate of ghcr.io is not a PEM certificate with its key',
  ],
  ['registries: { ghcr.io: { client_certificate: { cert: ca.pem } } }', 'registries.ghcr.io.client_certificate.key'],
  ['addresses: { deny: [lan] }', 'addresses.deny.0'],
  ['stall_timeout: 0', 'stall_timeout'],
  ['[', 'are not valid YAML'],
  ['text', 'file: '],
])('%s is refused, with the file and the reason', async (yaml, reason) => {
  const error = await failure(read(yaml));
  expect(error.message).toContain(reason);
  expect(error.message).toContain(join(directory, 'registries.yaml'));
});

test('a key that is written into the file is refused, and is in no part of the error', async () => {
  const yaml =
    'registries: { ghcr.io: { client_certificate: { cert: ca.pem, key: "-----BEGIN PRIVATE KEY----- c2VjcmV0" } } }';
  const error = await failure(read(yaml));
  expect(error.message).toContain('by the path of its PEM file');
  expect(inspect(error)).not.toContain('c2VjcmV0');
});

test('a client certificate of empty files is refused', () => {
  const registries = { 'ghcr.io': { clientCertificate: { cert: '', key: '' } } };
  expect(() => fixture.client({ registries })).toThrow('the client certificate of ghcr.io is not a PEM certificate');
});

test('variables and files that are wrong are named', async () => {
  expect((await failure(read('', { BHATTI_DENY_ADDRESSES: 'lan' }))).message).toContain('BHATTI_DENY_ADDRESSES');
  const error = await failure(read('', { BHATTI_REGISTRIES_FILE: '/nowhere/registries.yaml' }));
  expect(error.message).toBe('cannot read the registry settings in /nowhere/registries.yaml (ENOENT)');
});
