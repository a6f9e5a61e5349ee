/** What the journeys share: opening the panel, its cards and form, and clusters started by the command line. */
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

/** Python beside the browser, on the tested server's machine and with its clusters: a kernel of its own. */
export class Shell {
  private constructor(
    private readonly page: LabPage,
    private readonly kernel: { id: string; name: string }
  ) {}

  static async open(page: LabPage): Promise<Shell> {
    const kernel = await page.evaluate(async () => {
      const { id, name } = await window.jupyterapp.serviceManager.kernels.startNew();
      return { id, name };
    });
    return new Shell(page, kernel);
  }

  /** Run code, and return what it printed. Fails if it does. */
  async python(code: string): Promise<string> {
    const { status, text } = await this.page.evaluate(
      async ({ kernel, source }) => {
        const connection = window.jupyterapp.serviceManager.kernels.connectTo({ model: kernel });
        const future = connection.requestExecute({ code: source });
        let printed = '';
        future.onIOPub = message => {
          const { text: part, evalue } = message.content as { text?: string; evalue?: string };
          printed += part ?? evalue ?? '';
        };
        const reply = await future.done;
        connection.dispose();
        return { status: reply.content.status, text: printed };
      },
      { kernel: this.kernel, source: code }
    );
    expect(status, text).toBe('ok');
    return text;
  }

  /** Run the `cellspan` command. */
  cellspan(...args: string[]): Promise<string> {
    const list = JSON.stringify(['cellspan', ...args]);
    return this.python(`import subprocess; print(subprocess.check_output(${list}, text=True))`);
  }

  /** Start a small cluster by the command line. */
  start(name: string): Promise<string> {
    return this.cellspan('cluster', 'start', name, '--workers', '1', '--cores', '1');
  }

  /** Add a kernel whose Python cannot run anything. */
  async addBrokenKernel(): Promise<void> {
    await this.python(`
import json, os, pathlib
folder = pathlib.Path(os.environ["JUPYTER_PATH"], "kernels", "broken")
folder.mkdir(parents=True, exist_ok=True)
spec = {"argv": ["/bin/false"], "display_name": "Broken Python", "language": "python"}
(folder / "kernel.json").write_text(json.dumps(spec))`);
    await this.page.evaluate(() => window.jupyterapp.serviceManager.kernelspecs.refreshSpecs());
  }

  async removeBrokenKernel(): Promise<void> {
    await this.python('import shutil; shutil.rmtree(folder)');
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
