/** The page in a real browser, on the whole stack: what people do there, with scripts and without. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Browser, Page } from 'playwright-core';
import { type Bhatti, createBhatti, type StackStatus } from './support/bhatti.ts';
import { findChromium, startBrowser } from './support/browser.ts';
import { fileLayer } from './support/layer.ts';
import { startRegistry, type TestRegistry } from './support/registry.ts';

const executable = findChromium();
if (executable === undefined) {
  process.stderr.write(
    'skipped: the page in a browser, because there is no Chromium: bash scripts/setup.sh chromium\n',
  );
}

/** The folder for screenshots, which are for people to look at; none are taken if it is not set. */
const pictures = process.env.BHATTI_TEST_PICTURES;

(executable === undefined ? describe.skip : describe)('the page in a browser', () => {
  let registry: TestRegistry;
  let bhatti: Bhatti;
  let stack: StackStatus;
  let browser: Browser;
  beforeAll(async () => {
    registry = await startRegistry();
    bhatti = await createBhatti();
    await bhatti.run(['serve', '--detach']);
    stack = await bhatti.status();
    browser = await startBrowser(executable ?? '');
  });
  afterAll(async () => {
    await browser.close();
    await bhatti.remove();
    await registry.close();
  });

  async function push(name: string): Promise<string> {
    const layer = await fileLayer({ 'bin/sh': '#!\n', 'usr/blob': randomBytes(1_500_000) });
    return registry.pushImage({ repository: `library/${name}`, tag: '1', layers: [layer] }).reference;
  }

  async function logIn(page: Page): Promise<void> {
    await page.goto(stack.url);
    await page.getByLabel('Token').fill(stack.token);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Pull an image' }).waitFor();
  }

  async function picture(page: Page, name: string): Promise<void> {
    if (pictures !== undefined) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
  }

  test('log in, pull, watch it complete, cancel another, see why one failed', async () => {
    const page = await browser.newPage({ colorScheme: 'light' });
    const complaints: string[] = [];
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.goto(stack.url);
    await picture(page, 'login');
    await logIn(page);

    // The keyboard is enough: the field, then Enter.
    const quick = await push('quick');
    registry.plan({ path: '/blobs/', times: 4, bytesPerSecond: 1_000_000 });
    await page.getByLabel('Image reference').focus();
    await page.keyboard.type(quick);
    await page.keyboard.press('Enter');
    await page.getByText('downloading layers').first().waitFor();
    await picture(page, 'task-running');
    // Without a reload: the script keeps the page up to date.
    await page.getByText('completed', { exact: true }).waitFor();
    expect(await page.getByRole('status').textContent()).toContain('completed');
    await picture(page, 'task-completed');

    await page.getByRole('link', { name: 'Images and tasks' }).click();
    await page.getByRole('rowheader', { name: 'quick-1' }).waitFor();

    registry.clearFaults();
    const slow = await push('slow');
    // Takes minutes, so that it is still under way when it is cancelled.
    registry.plan({ path: 'library/slow/blobs/', bytesPerSecond: 10_000 });
    await page.getByLabel('Image reference').fill(slow);
    await page.getByRole('button', { name: 'Pull' }).click();
    await page.getByText('downloading layers').first().waitFor();
    await page.getByRole('link', { name: 'Images and tasks' }).click();
    const item = page.getByRole('listitem').filter({ hasText: slow });
    await item.getByRole('progressbar').waitFor();
    await page.getByLabel('Image reference').fill(quick.replace('quick', 'no-such-image'));
    await page.getByRole('button', { name: 'Pull' }).click();
    await page.getByText('manifest_unknown').first().waitFor();
    await page.getByText('Check the name and the tag').first().waitFor();
    await page.getByText('attempt 1 of 3').waitFor();
    await page.getByText('failed', { exact: true }).waitFor();
    await picture(page, 'task-failed');
    await page.getByRole('link', { name: 'Images and tasks' }).click();
    await item.getByRole('progressbar').waitFor();
    await picture(page, 'home-light');
    await page.emulateMedia({ colorScheme: 'dark' });
    await picture(page, 'home-dark');
    await page.setViewportSize({ width: 340, height: 800 });
    await picture(page, 'home-narrow');
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
    await page.setViewportSize({ width: 1280, height: 720 });

    await item.getByRole('button', { name: /^Cancel/ }).click();
    await item.getByText('cancelled', { exact: true }).waitFor();
    expect(complaints).toEqual([]);

    await page.getByRole('link', { name: 'Queue board' }).click();
    await page.getByText('images', { exact: true }).first().waitFor();
    await page.goto(`${stack.url}/admin/queues/queue/images?status=failed`);
    await page.getByText('no-such-image').first().waitFor();
    await picture(page, 'queue-board');
    await page.goto(stack.url);
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.getByLabel('Token').waitFor();
    await page.close();
  });

  test('an image that comes from elsewhere shows by itself, and the focus stays where it is', async () => {
    const page = await browser.newPage();
    await logIn(page);
    await page
      .getByRole('link', { name: /no-such-image/ })
      .first()
      .focus();
    const elsewhere = await push('elsewhere');
    await bhatti.run(['image', 'pull', elsewhere, '--size', '16MiB']);
    await page.getByRole('rowheader', { name: 'elsewhere-1' }).waitFor();
    expect(await page.evaluate('document.activeElement.textContent')).toContain('no-such-image');
    await page.close();
  });

  test('what changes is told by the server: the page shows it while its clock stands still', async () => {
    const page = await browser.newPage();
    await page.clock.install();
    const open = page.waitForResponse((response) => response.url().endsWith('/ui/events'));
    await logIn(page);
    await open;
    await page.clock.pauseAt(Date.now() + 60_000);
    await bhatti.run(['image', 'pull', await push('told'), '--size', '16MiB']);
    await page.getByRole('rowheader', { name: 'told-1' }).waitFor();
    await page.close();
  });

  test('where no events come, the page asks by the clock', async () => {
    const page = await browser.newPage();
    await page.route('**/ui/events', (route) => route.abort());
    await logIn(page);
    await bhatti.run(['image', 'pull', await push('polled'), '--size', '16MiB']);
    await page.getByRole('rowheader', { name: 'polled-1' }).waitFor();
    await page.close();
  });

  test('an admin deletes an image, by the keyboard, after a question', async () => {
    const page = await browser.newPage();
    await logIn(page);
    await page.getByRole('link', { name: 'Delete polled-1' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Delete polled-1?' }).waitFor();
    await picture(page, 'delete');
    await page.getByRole('button', { name: 'Delete polled-1' }).press('Enter');
    await page.getByRole('rowheader', { name: 'quick-1' }).waitFor();
    expect(await page.getByRole('rowheader', { name: 'polled-1' }).count()).toBe(0);
    await page.close();
  });

  test('without scripts it reads and works, too', async () => {
    const context = await browser.newContext({ javaScriptEnabled: false });
    const page = await context.newPage();
    await logIn(page);
    await page.getByRole('rowheader', { name: 'quick-1' }).waitFor();
    await page.getByLabel('Image reference').fill(await push('scriptless'));
    await page.getByRole('button', { name: 'Pull' }).click();
    await page.getByRole('heading', { name: /scriptless/ }).waitFor();
    while (!(await page.getByText('completed', { exact: true }).isVisible())) await page.reload();
    await context.close();
  });
});
