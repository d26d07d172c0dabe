import { execFileSync } from 'node:child_process';
import { type Browser, chromium } from 'playwright-core';

const names = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'];

/** The path of Chromium or Chrome; undefined if there is none. */
export function findChromium(): string | undefined {
  for (const name of names) {
    try {
      return execFileSync('/bin/sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim();
    } catch {
      // Not this one.
    }
  }
  return undefined;
}

/** Starts it headless and, as tests may run as root, without a sandbox: it only sees the tests' own pages. */
export function startBrowser(executablePath: string): Promise<Browser> {
  // Without a screen, the process that drives a graphics card only takes time: a sixth of all.
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'] });
}
