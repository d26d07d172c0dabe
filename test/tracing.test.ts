/** Traces from the built programs, as a collector gets them. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { request } from 'undici';
import { type Bhatti, createBhatti, type StackStatus } from './support/bhatti.ts';
import { type CollectedSpan, type Collector, startCollector } from './support/collector.ts';
import { fileLayer } from './support/layer.ts';
import { startRegistry, type TestRegistry } from './support/registry.ts';

const traceId = '0af7651916cd43dd8448eb211c80319c';
const parentId = 'b7ad6b7169203331';

describe('with a collector', () => {
  let registry: TestRegistry;
  let collector: Collector;
  let bhatti: Bhatti;
  let stack: StackStatus;
  beforeAll(async () => {
    registry = await startRegistry();
    collector = await startCollector();
    bhatti = await createBhatti();
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_RESOURCE_ATTRIBUTES: 'host.name=test-host',
      OTEL_BSP_SCHEDULE_DELAY: '50',
    };
    await bhatti.run(['serve', '--detach'], { env });
    stack = await bhatti.status();
  });
  afterAll(async () => {
    await bhatti.remove();
    await registry.close();
  });

  test('one trace goes from the request over the queue to the phases', async () => {
    const layers = [await fileLayer({ 'bin/sh': '#!\n' })];
    const { reference } = registry.pushImage({ repository: 'library/traced', tag: '1', layers });
    const authorization = `Bearer ${stack.token}`;
    const answer = await request(`${stack.url}/images/pull`, {
      method: 'POST',
      headers: { authorization, traceparent: `00-${traceId}-${parentId}-01`, 'x-request-id': 'req_traced' },
      body: JSON.stringify({ ref: reference, auth: 'robot:hunter2' }),
    });
    expect([answer.statusCode, await answer.body.json()]).toEqual([202, expect.anything()]);
    const gone = reference.replace('traced:1', 'gone:1');
    await bhatti.run(['image', 'pull', gone]);
    const ends = ['POST /images/pull', 'process images', 'resolving', 'flattening'];
    while (!ends.every((name) => collector.spans.some((span) => span.traceId === traceId && span.name === name))) {
      await sleep(20);
    }
    const failedPhase = () => collector.spans.find((span) => span.name === 'resolving' && span.status.code === 2);
    while (!collector.spans.some((span) => span.kind === 2 && span.traceId === failedPhase()?.traceId)) await sleep(20);
    // From here on nobody receives spans, which is logged, and disturbs nothing.
    await collector.close();
    expect((await bhatti.run(['image', 'pull', '--force', reference])).exitCode).toBe(0);
    expect((await bhatti.run(['serve', 'stop'])).exitCode).toBe(0);
    expect(await readFile(stack.log, 'utf8')).toContain('traces: the collector did not take the last spans');

    const spans = collector.spans.filter((span) => span.traceId === traceId);
    const find = (name: string, among: readonly CollectedSpan[] = spans) => {
      const found = among.filter((span) => span.name === name);
      expect([name, found.length]).toEqual([name, 1]);
      return found[0];
    };
    const post = find('POST /images/pull');
    expect(post).toMatchObject({ service: 'bhatti-api', parentSpanId: parentId, kind: 2 });
    expect(post?.attributes).toMatchObject({ 'http.response.status_code': '202', request_id: 'req_traced' });
    const add = find('add images.pull');
    expect(add).toMatchObject({ service: 'bhatti-api', parentSpanId: post?.spanId });
    const job = find('process images');
    expect(job).toMatchObject({ service: 'bhatti-worker', parentSpanId: add?.spanId });
    expect(job?.attributes['bullmq.job.id']).toMatch(/^tsk_/);
    for (const phase of ['resolving', 'downloading', 'flattening']) {
      expect(find(phase)).toMatchObject({ service: 'bhatti-worker', parentSpanId: job?.spanId, status: { code: 0 } });
    }
    // A failed phase is marked as an error, in a trace that begins at the API.
    expect(failedPhase()?.service).toBe('bhatti-worker');

    // Workers that look for work in vain leave no traces, and there are no secrets.
    const known = new Set(collector.spans.filter((span) => span.kind === 2).map((span) => span.traceId));
    expect(collector.spans.filter((span) => !known.has(span.traceId))).toEqual([]);
    expect(collector.received()).toContain('test-host');
    for (const secret of ['hunter2', stack.token, 'sealedAuth']) expect(collector.received()).not.toContain(secret);
  });
});

test('the programs import nothing of OpenTelemetry as they start', async () => {
  for (const program of ['api', 'worker', 'cli']) {
    const text = await readFile(new URL(`../dist/${program}.js`, import.meta.url), 'utf8');
    expect(text).not.toMatch(/^import .*"(@opentelemetry\/.*|bullmq-otel)"/m);
  }
});
