import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { Agent } from 'undici';
import * as z from 'zod';
import { exchange, type Flow, type Receiver } from '../connection/exchange.ts';
import { PartialFile } from '../download/partial-file.ts';
import { random, useFixture } from './support/fixture.ts';

const fixture = useFixture();
const MIB = 1024 * 1024;

/** A sender that is told what to do, and does nothing. */
class ToldFlow implements Flow {
  readonly told: string[] = [];
  pause(): void {
    this.told.push('pause');
  }
  resume(): void {
    this.told.push('resume');
  }
}

test('a file holds the sender back while 4 MiB are on their way to it, and lets it on when they are there, each time', async () => {
  const path = join(await fixture.directory(), 'blob');
  const flow = new ToldFlow();
  const file = await PartialFile.open(path, () => undefined);
  const chunks = Array.from({ length: 12 }, () => random(MIB));
  // Chunks give their memory back once they are written.
  const whole = Buffer.concat(chunks);
  const told: string[] = [];
  for (const half of [chunks.slice(0, 6), chunks.slice(6)]) {
    for (const [before, chunk] of half.entries()) {
      expect(flow.told).toEqual(before < 4 ? told : [...told, 'pause']);
      file.append(chunk, flow);
    }
    await file.flush();
    told.push('pause', 'resume');
    expect(flow.told).toEqual(told);
  }
  expect(file.length).toBe(12 * MIB);
  await file.close();
  expect((await readFile(path)).equals(whole)).toBe(true);
});

test('a file that cannot be written lets the sender on, and refuses what it sends', async () => {
  const flow = new ToldFlow();
  const file = await PartialFile.open('/dev/full', () => undefined);
  for (let count = 0; count < 4; count += 1) file.append(Buffer.alloc(MIB), flow);
  await expect(file.flush()).rejects.toMatchObject({ code: 'no_space' });
  expect(flow.told).toEqual(['pause', 'resume']);
  expect(() => file.append(Buffer.alloc(1), flow)).toThrow(/no space left/);
  await file.close();
});

test('who holds the sender back hears nothing, for however long, and of a stall only when it is let on', async () => {
  const body = random(4 * MIB);
  const server = createServer((request, response) => {
    const isCut = request.url === '/cut';
    response.writeHead(200, { 'content-length': body.length + (isCut ? 1 : 0) });
    if (isCut) response.write(body);
    else response.end(body);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = z.object({ port: z.int() }).parse(server.address());
  const dispatcher = new Agent();
  const hear = async (path: string) => {
    const heard: Buffer[] = [];
    let isHeldBack = false;
    const receive: Receiver = (chunk, flow) => {
      expect(isHeldBack).toBe(false);
      if (heard.push(Buffer.from(chunk)) > 1) return undefined;
      isHeldBack = true;
      flow.pause();
      void sleep(2200).then(() => {
        isHeldBack = false;
        flow.resume();
      });
      return undefined;
    };
    const url = new URL(`http://127.0.0.1:${port}${path}`);
    const stallTimeoutMs = 1000;
    const ended = exchange({ dispatcher, url, method: 'GET', headers: {}, stallTimeoutMs, receive: () => receive });
    const end = await ended.then(
      ({ status }) => status,
      (error: unknown) => String(error),
    );
    expect(Buffer.concat(heard).equals(body)).toBe(true);
    return end;
  };
  const ends = await Promise.all([hear('/whole'), hear('/cut')]);
  await dispatcher.destroy();
  server.close();
  expect(ends).toEqual([200, 'StallError: nothing came for 1 s']);
});
