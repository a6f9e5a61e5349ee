/**
 * What the journeys share: a page whose errors fail the test, the panel with its cards and form, notebooks,
 * pictures, and clusters started by the command line.
 */
import { expect, type IJupyterLabPageFixture, test as galataTest } from '@jupyterlab/galata';
import type { Locator, Page } from '@playwright/test';

export type LabPage = IJupyterLabPageFixture;

/** Starting a cluster takes a second; on a busy machine it may take much longer. */
export const START_MS = 30_000;

export const THEMES = ['light', 'dark'] as const;

/** Leaves no cluster behind, and fails if the page had an error. */
export const test = galataTest.extend<{ cleanPage: undefined }>({
  cleanPage: [
    async ({ page }, use) => {
      const errors: string[] = [];
      page.on('pageerror', error => {
        if (!isOfSplash(error)) {
          errors.push(error.stack ?? error.message);
        }
      });
      await use(undefined);
      await stopAll(page);
      expect(errors).toEqual([]);
    },
    { auto: true }
  ]
});

/**
 * JupyterLab's own splash screen, shown twice in a row, is removed twice. It is so by a timer, which is all
 * that there is on the stack; whatever else removes elements has been called by something.
 */
function isOfSplash(error: Error): boolean {
  const frames = (error.stack ?? '').split('\n').filter(line => /^\s+at /.test(line));
  return (
    error.message.includes("'removeChild'") &&
    frames.length === 1 &&
    /\/static\/lab\/jlab_core\./.test(frames[0] ?? '')
  );
}

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

/** Open a notebook, and wait for its kernel. */
export async function openNotebook(page: LabPage, path: string): Promise<void> {
  await page.evaluate(async file => {
    await window.jupyterapp.commands.execute('docmanager:open', { path: file });
  }, path);
  await expect(page.getByText('Python 3 (ipykernel) | Idle')).toBeVisible({ timeout: START_MS });
}

/** Write a notebook of these cells. */
export async function writeNotebook(page: LabPage, path: string, cells: string[]): Promise<void> {
  const notebook = {
    cells: cells.map((source, place) => ({
      cell_type: 'code',
      execution_count: null,
      id: `cell-${String(place)}`,
      metadata: {},
      outputs: [],
      source
    })),
    metadata: {
      kernelspec: { display_name: 'Python 3 (ipykernel)', language: 'python', name: 'python3' }
    },
    nbformat: 4,
    nbformat_minor: 5
  };
  expect(await page.contents.uploadContent(JSON.stringify(notebook), 'text', path)).toBe(true);
}

/** What a pane has painted, as a string that is another one when the picture is. */
function readFigure(pane: Locator): Promise<string> {
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

/** Wait until another picture is painted. */
export async function expectToMove(pane: Locator): Promise<void> {
  const before = await readFigure(pane);
  await expect.poll(() => readFigure(pane)).not.toBe(before);
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
