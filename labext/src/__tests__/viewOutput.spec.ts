import type { JupyterFrontEnd } from '@jupyterlab/application';
import { MimeModel, RenderMimeRegistry, standardRendererFactories } from '@jupyterlab/rendermime';
import { nullTranslator } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';
import { ClusterApi } from '../clusterApi';
import { CellspanModel } from '../model';
import { outputPlugin } from '../plugins/outputPlugin';
import type { ViewColumns } from '../tokens';
import type { Figure } from '../views/figure';
import { VIEW_MIME, ViewOutput } from '../views/viewOutput';
import { clusterJson, FakeServer, FakeSocket } from './support/server';

const draw = jest.fn<Promise<Figure>, [unknown, HTMLElement]>();
jest.mock('../views/figure', () => ({
  Figure: { draw: (item: unknown, node: HTMLElement) => draw(item, node) }
}));

const COLUMNS: ViewColumns = { rows: { y: [1] } };

let model: CellspanModel;
let output: ViewOutput;
let figure: { show: jest.Mock; repaint: jest.Mock; dispose: jest.Mock };

beforeEach(() => {
  const server = new FakeServer();
  server.answers.set('GET views', { json: [] });
  model = new CellspanModel(new ClusterApi(server.settings));
  FakeSocket.last('cellspan/events').accept();
  figure = { show: jest.fn(), repaint: jest.fn(), dispose: jest.fn() };
  draw.mockReset();
  draw.mockImplementation((_, node) => {
    node.append(document.createElement('canvas'));
    return Promise.resolve(figure as unknown as Figure);
  });
  output = new ViewOutput(model, nullTranslator.load('cellspan'));
});

afterEach(() => {
  output.dispose();
  model.dispose();
});

function push(...clusters: object[]): void {
  FakeSocket.last('cellspan/events').say({ type: 'clusters', clusters });
}

async function render(change: object = {}): Promise<void> {
  if (!output.isAttached) {
    Widget.attach(output, document.body);
  }
  const data = {
    cluster: 'a',
    id: 'id of a',
    view: 'groups',
    title: 'Groups',
    time: 1_700_000_000,
    item: '{"doc": 1}',
    ...change
  };
  await output.renderModel(new MimeModel({ data: { [VIEW_MIME]: data } }));
}

function watches(): FakeSocket[] {
  return FakeSocket.opened.filter(socket => socket.url.includes('/watch') && socket.readyState < 3);
}

/** Let what is drawn in the background be done. */
async function settle(): Promise<void> {
  await new Promise(resolve => {
    process.nextTick(resolve);
  });
}

function note(): string {
  return output.node.querySelector('[role=status]')?.textContent ?? '';
}

test('the saved picture is drawn, and live while its cluster is there', async () => {
  push(clusterJson('a'));
  await render();
  expect(draw.mock.lastCall?.[0]).toEqual({ doc: 1 });
  expect(note()).toBe('Groups of cluster “a”');
  const socket = FakeSocket.last('clusters/a/watch');
  socket.accept();
  expect(socket.sent).toEqual([{ views: ['groups'] }]);
  socket.say({ type: 'snapshot', views: { groups: COLUMNS } });
  expect(figure.show).toHaveBeenLastCalledWith(COLUMNS);
});

test('the picture stays when the cluster goes, with a word on it', async () => {
  push(clusterJson('a'));
  await render();
  push();
  expect(note()).toContain('which is gone');
  expect(watches()).toEqual([]);
  expect(output.node.querySelector('canvas')).not.toBeNull();
  expect(figure.dispose).not.toHaveBeenCalled();
});

test('another cluster of that name is not taken for it', async () => {
  push(clusterJson('a', { id: 'another' }));
  await render();
  expect(watches()).toEqual([]);
  expect(note()).toContain(new Date(1_700_000_000_000).toLocaleString());
});

test('nothing is said of a cluster before the clusters are known', async () => {
  await render();
  expect(note()).toBe('Groups of cluster “a”');
});

test('nothing is sent to an output that nobody sees', async () => {
  push(clusterJson('a'));
  await render();
  expect(watches()).toHaveLength(1);
  output.hide();
  expect(watches()).toEqual([]);
  output.show();
  expect(watches()).toHaveLength(1);
  Widget.detach(output);
  expect(watches()).toEqual([]);
  expect(figure.dispose).toHaveBeenCalled();
});

test('an output that is scrolled away and back has its last picture', async () => {
  push(clusterJson('a'));
  await render();
  watches()[0]?.accept();
  watches()[0]?.say({ type: 'snapshot', views: { groups: COLUMNS } });
  Widget.detach(output);
  push();
  figure.show.mockClear();
  Widget.attach(output, document.body);
  await settle();
  expect(draw).toHaveBeenCalledTimes(2);
  expect(figure.show).toHaveBeenCalledWith(COLUMNS);
});

test('a picture that comes too late is not drawn over a newer one', async () => {
  let finish = (_: Figure): void => undefined;
  const late = { ...figure, dispose: jest.fn() };
  draw.mockImplementationOnce(
    () =>
      new Promise(resolve => {
        finish = resolve;
      })
  );
  const first = render();
  await settle();
  await render({ item: '{"doc": 2}' });
  finish(late as unknown as Figure);
  await first;
  expect(late.dispose).toHaveBeenCalled();
  output.repaint();
  expect(figure.repaint).toHaveBeenCalledTimes(1);
});

test('what cannot be drawn is said', async () => {
  await render({ item: 'no picture' });
  expect(output.node.textContent).toContain('The view cannot be shown');
});

test('a notebook that is not trusted shows the table, for a picture may hold code', () => {
  const rendermime = new RenderMimeRegistry({ initialFactories: standardRendererFactories });
  const app = null as unknown as JupyterFrontEnd; // it is not asked for anything
  void outputPlugin.activate(app, model, rendermime, null, null);
  const bundle = { [VIEW_MIME]: {}, 'text/html': '<table></table>', 'text/plain': '' };
  expect(rendermime.preferredMimeType(bundle, 'any')).toBe(VIEW_MIME);
  expect(rendermime.preferredMimeType(bundle, 'ensure')).toBe('text/html');
});
