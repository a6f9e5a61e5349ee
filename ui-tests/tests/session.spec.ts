/**
 * The journey of the product: from an empty panel, through the example notebook at work on a cluster and
 * seen at it, to a stopped cluster.
 */
import { expect } from '@jupyterlab/galata';
import type { Locator } from '@playwright/test';
import {
  card,
  expectToMove,
  type LabPage,
  openForm,
  openNotebook,
  openPanel,
  picture,
  setTheme,
  START_MS,
  test,
  THEMES
} from './support';

const EXAMPLE = '../examples/flights.ipynb';
const WORK_MS = 120_000;

async function openView(page: LabPage, title: string): Promise<Locator> {
  await card(page, 'flights')
    .getByRole('button', { name: `Open ${title} of Cluster` })
    .click();
  const pane = page.locator(`.cellspan-View[data-view="${title.toLowerCase()}"]`);
  await expect(pane.locator('canvas').first()).toBeVisible();
  await expect(pane).toHaveAttribute('data-updates', /\d/);
  return pane;
}

/** Start the cluster by the form, and wait until it runs. */
async function startCluster(page: LabPage, panel: Locator, theme: string): Promise<Locator> {
  const form = await openForm(page, panel);
  await form.getByLabel('Name').fill('flights');
  await form.getByLabel('Cores each').fill('2');
  await form.getByLabel('Memory per worker').fill('2 GB');
  await expect(form.getByText('The environment of the active notebook.')).toBeVisible();
  await page.screenshot({ path: picture(`form-${theme}`) });
  await form.getByRole('button', { name: 'Start' }).click();
  const cluster = card(page, 'flights');
  await expect(cluster.getByText('Starting…')).toBeVisible();
  await expect(cluster.getByText('Running', { exact: true })).toBeVisible({ timeout: START_MS });
  await expect(cluster.getByText('× 2 cores')).toBeVisible();
  return cluster;
}

/** Stop the cluster by its button, and confirm. */
async function stopCluster(page: LabPage, cluster: Locator, theme: string): Promise<void> {
  await cluster.getByRole('button', { name: 'Stop Cluster…' }).click();
  const dialog = page.getByRole('dialog');
  await expect(dialog).toContainText('Stop cluster “flights”?');
  await page.screenshot({ path: picture(`stop-${theme}`) });
  await dialog.getByRole('button', { name: 'Stop' }).click();
  await expect(cluster).toBeHidden({ timeout: START_MS });
}

test.use({ viewport: { width: 1440, height: 900 } });

for (const theme of THEMES) {
  test(`the example runs on a cluster from the panel (${theme})`, async ({ page, tmpPath }) => {
    test.setTimeout(2 * WORK_MS);
    await setTheme(page, theme);
    const panel = await openPanel(page);
    await expect(panel.getByText('No clusters', { exact: true })).toBeVisible();
    await page.screenshot({ path: picture(`empty-${theme}`) });

    const path = `${tmpPath}/flights.ipynb`;
    expect(await page.contents.uploadFile(EXAMPLE, path)).toBe(true);
    await openNotebook(page, path);
    const cluster = await startCluster(page, panel, theme);

    await cluster.getByRole('button', { name: 'Attach Notebook to Cluster' }).click();
    expect(await page.notebook.getCellTextInput(1)).toBe(
      '%load_ext cellspan\n%cluster attach flights'
    );
    const groups = await openView(page, 'Groups');
    await page.activity.activateTab('flights.ipynb');
    await page.evaluate(() => {
      void window.jupyterapp.commands.execute('notebook:run-all-cells');
    });

    const progress = page.locator('.cellspan-progress').last();
    await expect(progress).toContainText('resample', { timeout: WORK_MS });
    await expect(cluster.getByText(/[1-9]\S* running/)).toBeVisible();
    // Not by the display itself, which is another element after each update; and again where the
    // notebook, which follows its running cells, has scrolled on.
    const output = page.locator('.jp-OutputArea-output').filter({ has: progress });
    await expect(async () => {
      await output.evaluate(node => {
        node.scrollIntoView({ block: 'center' });
      });
      await expectToMove(groups);
      await expect(output).toBeInViewport({ timeout: 300 });
    }).toPass();
    await page.screenshot({ path: picture(`groups-${theme}`) });
    const activity = await openView(page, 'Activity');
    await expectToMove(activity);
    await page.screenshot({ path: picture(`activity-${theme}`) });

    await cluster.getByRole('button', { name: 'One worker more' }).click();
    await expect(cluster.getByRole('textbox', { name: 'Number of workers' })).toHaveValue('2');
    await expect(cluster.getByText('× 2 cores')).toBeVisible({ timeout: START_MS });
    await expect(cluster.getByText(/^100 k done$/)).toBeVisible({ timeout: WORK_MS });
    await expect(progress).toContainText('100,000 / 100,000');
    await expect(page.getByText('US Airways Inc.')).toBeVisible({ timeout: WORK_MS });
    await page.screenshot({ path: picture(`done-${theme}`) });

    await stopCluster(page, cluster, theme);
    await expect(panel.getByText('No clusters', { exact: true })).toBeVisible();
    await expect(activity.getByText('is gone')).toBeVisible();
    await page.screenshot({ path: picture(`gone-${theme}`) });
  });
}
