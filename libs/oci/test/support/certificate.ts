import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface TestCertificates {
  /** PEM of the authority, which nobody trusts. */
  readonly authority: string;
  readonly key: string;
  readonly cert: string;
}

/** A private authority and a certificate that it signed for `registry.test`, localhost and the loopback addresses, made by openssl. */
export async function makeCertificates(directory: string): Promise<TestCertificates> {
  const file = (name: string): string => join(directory, name);
  const openssl = (...parameters: string[]): Promise<unknown> => run('openssl', parameters, { cwd: directory });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl(
    'req',
    '-x509',
    ...newKey,
    '-subj',
    '/CN=test authority',
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
    '-days',
    '2',
  );
  await openssl('req', ...newKey, '-subj', '/CN=registry.test', '-keyout', 'key.pem', '-out', 'request.pem');
  const names = 'subjectAltName=DNS:registry.test,DNS:localhost,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1';
  await writeFile(file('names'), names);
  const signing = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'names', '-days', '2'];
  await openssl('x509', '-req', '-in', 'request.pem', '-out', 'cert.pem', ...signing);
  const read = (name: string): Promise<string> => readFile(file(name), 'utf8');
  return { authority: await read('ca.pem'), key: await read('key.pem'), cert: await read('cert.pem') };
}
