/** The panel by itself: bad input, failures, clusters from elsewhere, logs, and use by keyboard. */
import { expect } from '@jupyterlab/galata';
import type { Locator } from '@playwright/test';
import {
  card,
  openForm,
  openPanel,
  picture,
  setTheme,
  Shell,
  START_MS,
  test,
  THEMES
} from './support';

for (const theme of THEMES) {
  test(`bad input is explained beside its field (${theme})`, async ({ page }) => {
    await setTheme(page, theme);
    const panel = await openPanel(page);
    const form = await openForm(page, panel);
    await form.getByLabel('Name').fill('my cluster!');
    await form.getByLabel('Workers').fill('0');
    await form.getByLabel('Cores each').fill('-1');
    await form.getByLabel('Memory per worker').fill('plenty');
    await form.getByLabel('Lifetime').selectOption({ label: 'With the notebook’s kernel' });
    await form.getByRole('button', { name: 'Start' }).click();
    await expect(form.getByRole('alert')).toHaveCount(5);
    await expect(form.getByLabel('Name')).toHaveAccessibleDescription(/letters, digits/);
    await expect(form.getByLabel('Workers')).toHaveAccessibleDescription(/at least 1 worker/);
    await expect(form.getByLabel('Memory per worker')).toHaveAccessibleDescription(/4 GB/);
    await page.screenshot({ path: picture(`form-bad-${theme}`) });
    await form.getByLabel('Workers').fill('1');
    await expect(form.getByRole('alert')).toHaveCount(4);
    await page.keyboard.press('Escape');
    await expect(form).toBeHidden();
    await expect(panel.getByText('No clusters', { exact: true })).toBeVisible();
  });

  test(`a failed start says why until it is dismissed (${theme})`, async ({ page }) => {
    await setTheme(page, theme);
    const panel = await openPanel(page);
    const shell = await Shell.open(page);
    await shell.addBrokenKernel();
    const form = await openForm(page, panel);
    await form.getByLabel('Name').fill('broken');
    await form.getByLabel('Python').selectOption({ label: 'Broken Python' });
    await form.getByRole('button', { name: 'Start' }).click();
    const cluster = card(page, 'broken');
    await expect(cluster.getByText('Failed', { exact: true })).toBeVisible({ timeout: START_MS });
    await expect(cluster).toContainText('did not start');
    await shell.removeBrokenKernel();
    await page.screenshot({ path: picture(`failed-${theme}`) });

    // Its kernel is gone by now: what only the server can know is said in the form.
    await openForm(page, panel);
    await page.route(/cellspan\/clusters(\?|$)/, async route => {
      const body = { ...(route.request().postDataJSON() as object), kernel_name: 'broken' };
      await route.continue({ postData: JSON.stringify(body) });
    });
    await form.getByRole('button', { name: 'Start' }).click();
    await expect(form.getByLabel('Python')).toHaveAccessibleDescription(
      "There is no kernel 'broken'."
    );
    await page.screenshot({ path: picture(`form-refused-${theme}`) });
    await form.getByRole('button', { name: 'Cancel' }).click();

    await cluster.getByRole('button', { name: 'Dismiss' }).click();
    await expect(panel.getByText('No clusters', { exact: true })).toBeVisible();
  });
}

test('a cluster of the command line appears within a second or so, and goes', async ({ page }) => {
  const panel = await openPanel(page);
  await expect(panel.getByText('No clusters', { exact: true })).toBeVisible();
  const shell = await Shell.open(page);
  await shell.start('from-shell');
  const cluster = card(page, 'from-shell');
  await expect(cluster.getByText('Running', { exact: true })).toBeVisible({ timeout: 1500 });

  await cluster.getByRole('button', { name: 'Open Logs of Cluster' }).click();
  const log = page.getByRole('log');
  await expect(log).toContainText('scheduler', { timeout: 10_000 });
  await page.screenshot({ path: picture('logs') });

  await shell.cellspan('cluster', 'scale', 'from-shell', '2');
  await expect(cluster.getByRole('textbox', { name: 'Number of workers' })).toHaveValue('2');
  await shell.cellspan('cluster', 'stop', 'from-shell');
  await expect(cluster).toBeHidden({ timeout: 1500 });
});

test('a pane goes on when a cluster of its name is back', async ({ page }) => {
  test.setTimeout(120_000);
  await openPanel(page);
  const shell = await Shell.open(page);
  await shell.start('phoenix');
  await card(page, 'phoenix').getByRole('button', { name: 'Open Groups of Cluster' }).click();
  const pane = page.locator('.cellspan-View');
  await expect(pane).toHaveAttribute('data-updates', /\d/);
  await shell.cellspan('cluster', 'stop', 'phoenix');
  await expect(pane.getByText('Cluster “phoenix” is gone.')).toBeVisible();
  const seen = Number(await pane.getAttribute('data-updates'));
  await shell.start('phoenix');
  await expect(pane.getByText('is gone')).toBeHidden();
  await expect
    .poll(async () => Number(await pane.getAttribute('data-updates')))
    .toBeGreaterThan(seen);

  await page.evaluate(() => {
    window.location.reload();
  });
  await expect(page.locator('.cellspan-View canvas').first()).toBeVisible({ timeout: START_MS });
});

test('a name in use, a worker count of 0 and an attach without a notebook are refused', async ({
  page
}) => {
  const panel = await openPanel(page);
  const shell = await Shell.open(page);
  await shell.start('only');
  const cluster = card(page, 'only');
  await expect(cluster.getByText('Running', { exact: true })).toBeVisible();

  const attach = cluster.getByRole('button', { name: /Attach Notebook to Cluster/ });
  await expect(attach).toHaveAttribute('aria-disabled', 'true');
  await expect(attach).toHaveAttribute('title', 'Open a notebook to attach a cluster to it');

  await expect(cluster.getByRole('button', { name: 'One worker less' })).toBeDisabled();
  const workers = cluster.getByRole('textbox', { name: 'Number of workers' });
  await workers.fill('0');
  await expect(cluster.getByRole('alert')).toHaveText('A cluster has at least 1 worker.');
  await workers.press('Escape');
  await expect(workers).toHaveValue('1');

  const form = await openForm(page, panel);
  await form.getByLabel('Name').fill('only');
  await form.getByLabel('Name').press('Enter');
  await expect(form.getByRole('alert')).toHaveText('There is a cluster named “only” already.');
});

/** Go on by Tab until an element has the focus. */
async function tabTo(target: Locator): Promise<void> {
  const isFocused = (): Promise<boolean> => target.evaluate(node => node.matches(':focus'));
  for (let presses = 0; presses < 30 && !(await isFocused()); presses++) {
    await target.page().keyboard.press('Tab');
  }
  await expect(target).toBeFocused();
}

test('a cluster is started, scaled and stopped by keyboard alone', async ({ page }) => {
  const { keyboard } = page;
  await keyboard.press('Control+Alt+K');
  const panel = page.getByRole('region', { name: 'Clusters', exact: true });
  await expect(panel).toBeVisible();
  await tabTo(panel.getByRole('button', { name: /new cluster/i }).first());
  await keyboard.press('Enter');

  const form = page.getByRole('form', { name: 'New cluster' });
  await expect(form.getByLabel('Name')).toBeFocused(); // its text is selected: typing replaces it
  await keyboard.type('by-keys');
  await keyboard.press('Tab');
  await keyboard.type('1');
  await keyboard.press('Tab');
  await keyboard.type('1');
  await tabTo(form.getByLabel('Lifetime'));
  await keyboard.press('ArrowDown');
  await keyboard.press('ArrowDown');
  await expect(form.getByLabel('Lifetime')).toHaveValue('detached');
  await tabTo(form.getByRole('button', { name: 'Start' }));
  await page.screenshot({ path: picture('keyboard') });
  await keyboard.press('Enter');
  const cluster = card(page, 'by-keys');
  await expect(cluster.getByText('Running', { exact: true })).toBeVisible({ timeout: START_MS });

  // The form took the focus along when it closed, so it is the panel's shortcut again.
  await keyboard.press('Control+Alt+K');
  const workers = cluster.getByRole('textbox', { name: 'Number of workers' });
  await tabTo(workers);
  await keyboard.press('ArrowUp');
  await expect(cluster.getByText('2 there')).toBeHidden();
  await expect(workers).toHaveValue('2');
  await keyboard.press('Control+Alt+K');
  await tabTo(cluster.getByRole('button', { name: 'Stop Cluster…' }));
  await keyboard.press('Enter');
  const dialog = page.getByRole('dialog');
  await tabTo(dialog.getByRole('button', { name: 'Stop' }));
  await keyboard.press('Enter');
  await expect(cluster).toBeHidden({ timeout: START_MS });
});

test('nothing sticks out of the narrowest panel', async ({ page }) => {
  const panel = await openPanel(page);
  const shell = await Shell.open(page);
  await shell.start('a-cluster-with-a-rather-long-name-for-narrow-panels');
  await expect(panel.getByText('Running', { exact: true })).toBeVisible();
  await page.sidebar.setWidth(250, 'left');
  await openForm(page, panel);
  const overflowing = await panel.evaluate(node =>
    [...node.querySelectorAll<HTMLElement>('.cellspan-List, .cellspan-Card, .cellspan-Form')]
      .filter(element => element.scrollWidth > element.clientWidth)
      .map(element => element.className)
  );
  expect(overflowing).toEqual([]);
  await page.screenshot({ path: picture('narrow') });
});
