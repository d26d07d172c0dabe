import { expect, test } from '@jest/globals';
import { startTracing } from '../index.ts';

test.each([
  {},
  { OTEL_EXPORTER_OTLP_ENDPOINT: '' },
  { OTEL_SERVICE_NAME: 'mine' },
  { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', OTEL_SDK_DISABLED: 'true' },
  { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', OTEL_TRACES_EXPORTER: 'none' },
])('%j: no traces', async (env) => {
  expect(await startTracing({ service: 's', version: '1', env, onProblem: () => {} })).toBeUndefined();
});
