/**
 * @jest-config-loader esbuild-register
 */
import { availableParallelism } from 'node:os';
import type { Config } from 'jest';

const config: Config = {
  testEnvironment: '<rootDir>/test/support/environment.ts',
  testMatch: ['<rootDir>/{apps,libs,test}/**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '\\.ts$': ['@swc/jest', { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' } }],
  },
  modulePathIgnorePatterns: ['<rootDir>/dist/'],
  // More than there are processors: the tests wait for programs, locks and sockets a good part of the time.
  maxWorkers: availableParallelism() * 2,
  // Those that are done end at once; a busy machine tells of it late.
  workerGracefulExitTimeout: 30_000,
  // Guards against what hangs, and no more: where eighteen programs wanted two processors, a test took 55 s.
  testTimeout: 120_000,
};

export default config;
