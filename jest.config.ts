/**
 * @jest-config-loader esbuild-register
 */
import { availableParallelism } from 'node:os';
import type { Config } from 'jest';

const config: Config = {
  testEnvironment: '<rootDir>/test/support/environment.ts',
  testSequencer: '<rootDir>/test/support/sequencer.mjs',
  testMatch: ['<rootDir>/{apps,libs,test}/**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '\\.ts$': ['@swc/jest', { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' } }],
  },
  modulePathIgnorePatterns: ['<rootDir>/dist/'],
  // More than there are processors: the tests wait for programs, locks and sockets a good part of the time.
  maxWorkers: 2 * availableParallelism(),
  // Bytes of heap. What ran in a process stays there in part, and each start of a program copies its page tables: in one that has
  // 1 GB, which takes some 20 files, a start holds the tests up for 0.1 s, and takes as much of a processor.
  workerIdleMemoryLimit: 200_000_000,
  // Those that are done end at once; a busy machine tells of it late.
  workerGracefulExitTimeout: 30_000,
  // Guards against what hangs, and no more: where more than twenty programs wanted two processors, a test took 125 s.
  testTimeout: 300_000,
};

export default config;
