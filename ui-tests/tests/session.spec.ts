/** The journey of the product: from an empty panel through a notebook at work to a stopped cluster. */
import { expect, test } from '@jupyterlab/galata';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { Locator } from '@playwright/test';
import {
  card,
  type LabPage,
  openForm,
  openPanel,
  picture,
  setTheme,
  START_MS,
  stopAll,
  THEMES
} from './support';

const WORK = `import time
from cellspan import progress

def simulate(step):
    time.sleep(0.05)
    return step

def square(x):
    return x * x

squares = client.map(square, range(20_000))
steps = client.map(simulate, range(400))
progress([squares, steps])`;

/** The figures of a pane, as a string that changes with what is painted. */
async function readFigure(pane: Locator): Promise<string> {
  return pane.evaluate(node => {
    const canvases: HTMLCanvasElement[] = [];
    const collect = (root: ParentNode): void => {
      for (const element of root.querySelectorAll('*')) {
        if (element instanceof HTMLCanvasElement) {
          canvases.push(element);
        }
        if (element.shadowRoot) {
          collect(element.shadowRoot);
        }
      }
    };
    collect(node);
    return canvases.map(canvas => canvas.toDataURL()).join();
  });
}

async function openView(page: LabPage, name: string, title: string): Promise<Locator> {
  await card(page, name)
    .getByRole('button', { name: `Open ${title} of Cluster` })
    .click();
  const pane = page.locator(`.cellspan-View[data-view="${title.toLowerCase()}"]`);
  await expect(pane.locator('canvas').first()).toBeVisible();
  return pane;
}

/** Put text into a cell as it is: typing it would let the editor indent it. */
async function fillCell(page: LabPage, index: number, text: string): Promise<void> {
  await page.notebook.selectCells(index);
  await page.evaluate(source => {
    const panel = window.jupyterapp.shell.currentWidget as NotebookPanel;
    panel.content.activeCell?.model.sharedModel.setSource(source);
  }, text);
}

test.use({ viewport: { width: 1440, height: 900 } });

for (const theme of THEMES) {
  test.describe(`in the ${theme} theme`, () => {
    test.afterEach(async ({ page }) => {
      await stopAll(page);
    });

    test('a cluster is started, attached, seen at work, scaled and stopped', async ({ page }) => {
      test.setTimeout(150_000);
      const errors: string[] = [];
      page.on('pageerror', error => errors.push(error.message));
      await setTheme(page, theme);
      const panel = await openPanel(page);
      await expect(panel.getByText('No clusters', { exact: true })).toBeVisible();
      await page.screenshot({ path: picture(`empty-${theme}`) });

      await page.notebook.createNew(`session-${theme}.ipynb`);
      const form = await openForm(page, panel);
      await form.getByLabel('Name').fill('flights');
      await form.getByLabel('Cores each').fill('2');
      await form.getByLabel('Memory per worker').fill('1 GB');
      await expect(form.getByText('The environment of the active notebook.')).toBeVisible();
      await page.screenshot({ path: picture(`form-${theme}`) });
      await form.getByRole('button', { name: 'Start' }).click();

      const cluster = card(page, 'flights');
      await expect(cluster.getByText('Starting…')).toBeVisible();
      await expect(cluster.getByText('Running', { exact: true })).toBeVisible({
        timeout: START_MS
      });
      await expect(cluster.getByText('× 2 cores')).toBeVisible();

      await cluster.getByRole('button', { name: 'Attach Notebook to Cluster' }).click();
      expect(await page.notebook.getCellTextInput(0)).toBe(
        '%load_ext cellspan\n%cluster attach flights'
      );
      await page.notebook.runCell(0);
      await expect(page.locator('.jp-OutputArea-output').first()).toContainText('flights');

      const groups = await openView(page, 'flights', 'Groups');
      await expect(groups).toHaveAttribute('data-updates', /\d/);
      await page.activity.activateTab(`session-${theme}.ipynb`);
      await fillCell(page, 1, WORK);
      const before = await readFigure(groups);
      await page.notebook.runCell(1);

      const progress = page.locator('.cellspan-progress').last();
      await expect(progress).toContainText('simulate');
      await expect.poll(() => readFigure(groups)).not.toBe(before);
      await expect(cluster.getByText(/[1-9]\S* running/)).toBeVisible();
      await page.screenshot({ path: picture(`groups-${theme}`) });

      const activity = await openView(page, 'flights', 'Activity');
      const early = await readFigure(activity);
      await expect.poll(() => readFigure(activity)).not.toBe(early);
      await page.screenshot({ path: picture(`activity-${theme}`) });

      await cluster.getByRole('button', { name: 'One worker more' }).click();
      await expect(cluster.getByRole('textbox', { name: 'Number of workers' })).toHaveValue('2');
      await expect(cluster.getByText('× 2 cores')).toBeVisible({ timeout: START_MS });
      await expect(cluster.getByText('20,400 done')).toBeVisible({ timeout: 60_000 });
      await expect(progress).toContainText('400');
      await page.screenshot({ path: picture(`done-${theme}`) });

      await cluster.getByRole('button', { name: 'Stop Cluster…' }).click();
      const dialog = page.getByRole('dialog');
      await expect(dialog).toContainText('Stop cluster “flights”?');
      await page.screenshot({ path: picture(`stop-${theme}`) });
      await dialog.getByRole('button', { name: 'Stop' }).click();
      await expect(cluster).toBeHidden({ timeout: START_MS });
      await expect(panel.getByText('No clusters', { exact: true })).toBeVisible();
      await expect(activity.getByText('is gone')).toBeVisible();
      await page.screenshot({ path: picture(`gone-${theme}`) });
      expect(errors.filter(error => !error.includes("'removeChild'"))).toEqual([]);
    });
  });
}
