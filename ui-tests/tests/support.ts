/** What the journeys share: opening the panel, its cards and form, and clusters started by the command line. */
import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, type IJupyterLabPageFixture } from '@jupyterlab/galata';
import type { Locator, Page } from '@playwright/test';

export type LabPage = IJupyterLabPageFixture;

/** Starting a cluster takes a second; on a busy machine it may take much longer. */
export const START_MS = 30_000;

export const THEMES = ['light', 'dark'] as const;

export async function setTheme(page: LabPage, theme: (typeof THEMES)[number]): Promise<void> {
  await (theme === 'dark' ? page.theme.setDarkTheme() : page.theme.setLightTheme());
}

/** Open the side panel. */
export async function openPanel(page: LabPage): Promise<Locator> {
  await page.evaluate(() => window.jupyterapp.commands.execute('cellspan:show-panel'));
  const panel = page.getByRole('region', { name: 'Clusters', exact: true });
  await expect(panel).toBeVisible();
  return panel;
}

/** The card of a cluster in the panel. */
export function card(page: Page, name: string): Locator {
  return page
    .getByRole('list', { name: 'Clusters' })
    .getByRole('listitem')
    .filter({ has: page.getByRole('heading', { name, exact: true }) });
}

/** Open the form by the panel's own button. */
export async function openForm(page: Page, panel: Locator): Promise<Locator> {
  await panel
    .getByRole('button', { name: /new cluster/i })
    .first()
    .click();
  const form = page.getByRole('form', { name: 'New cluster' });
  await expect(form).toBeVisible();
  return form;
}

/** Where the kernels and clusters of the tested server find each other. */
async function getRuntimeDir(page: LabPage): Promise<string> {
  const file = await page.evaluate(async () => {
    const { serviceManager } = window.jupyterapp;
    const session = await serviceManager.kernels.startNew({ name: 'python3' });
    const future = session.requestExecute({
      code: 'from jupyter_core.paths import jupyter_runtime_dir as d; print(d(), end="")'
    });
    let text = '';
    future.onIOPub = message => {
      const { content } = message as { content: { text?: string } };
      text += content.text ?? '';
    };
    await future.done;
    await session.shutdown();
    return text;
  });
  expect(file).toMatch(/^\//);
  return file;
}

/** The `cellspan` command, on the clusters that the tested server sees. */
export class CommandLine {
  private constructor(private readonly runtimeDir: string) {}

  static async create(page: LabPage): Promise<CommandLine> {
    return new CommandLine(await getRuntimeDir(page));
  }

  async run(...args: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)('cellspan', args, {
      env: { ...process.env, JUPYTER_RUNTIME_DIR: this.runtimeDir },
      timeout: START_MS
    });
    return stdout;
  }

  /** Add a kernel whose Python cannot run anything. */
  async addBrokenKernel(page: LabPage): Promise<void> {
    const folder = join(this.runtimeDir, 'kernels', 'broken');
    await mkdir(folder, { recursive: true });
    const spec = { argv: ['/bin/false'], display_name: 'Broken Python', language: 'python' };
    await writeFile(join(folder, 'kernel.json'), JSON.stringify(spec));
    await page.evaluate(() => window.jupyterapp.serviceManager.kernelspecs.refreshSpecs());
  }

  async removeBrokenKernel(): Promise<void> {
    await rm(join(this.runtimeDir, 'kernels', 'broken'), { recursive: true });
  }

  start(name: string): Promise<string> {
    return this.run('cluster', 'start', name, '--workers', '1', '--cores', '1');
  }
}

/** Stop all clusters that there are, as the panel sees them. */
export async function stopAll(page: LabPage): Promise<void> {
  await page.evaluate(async () => {
    const settings = window.jupyterapp.serviceManager.serverSettings;
    const base = `${settings.baseUrl}cellspan/clusters`;
    const xsrf = /\b_xsrf=([^;]*)/.exec(document.cookie)?.[1] ?? '';
    const clusters = (await (await fetch(base)).json()) as { name: string }[];
    await Promise.all(
      clusters.map(({ name }) =>
        fetch(`${base}/${name}`, { method: 'DELETE', headers: { 'X-XSRFToken': xsrf } })
      )
    );
  });
}

/** Where pictures are kept. */
export function picture(name: string): string {
  return `test-results/${name}.png`;
}
