import { ClusterApi } from '../clusterApi';
import { CellspanModel } from '../model';
import type { ViewColumns } from '../tokens';
import { clusterJson, FakeServer, FakeSocket } from './support/server';

let server: FakeServer;
let model: CellspanModel;
let changes: number;

beforeEach(() => {
  jest.useFakeTimers();
  server = new FakeServer();
  server.answers.set('GET views', { json: [{ name: 'groups', title: 'Groups' }] });
  model = new CellspanModel(new ClusterApi(server.settings));
  changes = 0;
  model.changed.connect(() => {
    changes += 1;
  });
});

afterEach(() => {
  model.dispose();
  jest.useRealTimers();
});

function events(): FakeSocket {
  return FakeSocket.last('cellspan/events');
}

function push(...clusters: object[]): void {
  events().say({ type: 'clusters', clusters });
}

async function settle(): Promise<void> {
  await jest.advanceTimersByTimeAsync(0);
}

test('what is pushed is there when the signal is emitted', () => {
  expect(model.link).toBe('connecting');
  const seen: string[][] = [];
  model.changed.connect(() => {
    seen.push(model.clusters.map(cluster => cluster.name));
  });
  events().accept();
  push(clusterJson('a'), clusterJson('b'));
  expect(seen).toEqual([['a', 'b']]);
  expect(model.link).toBe('live');
  expect(model.find('b')?.slots).toBe(2);
  expect(model.find('c')).toBeUndefined();
});

test('the token goes with the socket where the server wants it', () => {
  expect(events().url).toBe('ws://test.example/base/cellspan/events?token=the%20token');
});

test('the views are listed once', async () => {
  events().accept();
  await settle();
  expect(model.views).toEqual([{ name: 'groups', title: 'Groups' }]);
  events().drop();
  await jest.advanceTimersByTimeAsync(1000);
  events().accept();
  await settle();
  expect(server.requests.filter(request => request.path === 'views')).toHaveLength(1);
});

test('without a socket the list is asked for, and no longer when it is back', async () => {
  server.answers.set('GET clusters', { json: [clusterJson('polled')] });
  events().accept();
  push();
  const first = events();
  first.drop();
  await jest.advanceTimersByTimeAsync(4000);
  expect(model.link).toBe('polling');
  expect(model.find('polled')).toBeDefined();

  expect(events()).not.toBe(first);
  events().accept();
  push(clusterJson('pushed'));
  await settle();
  const count = server.requests.length;
  await jest.advanceTimersByTimeAsync(60_000);
  expect(server.requests).toHaveLength(count);
  expect(model.link).toBe('live');
  expect(model.clusters.map(cluster => cluster.name)).toEqual(['pushed']);
});

test('a socket that cannot be opened is tried ever more slowly', async () => {
  for (let i = 0; i < 8; i++) {
    events().drop();
    await jest.advanceTimersByTimeAsync(20_000);
  }
  const count = FakeSocket.opened.length;
  events().drop();
  await jest.advanceTimersByTimeAsync(10_000);
  expect(FakeSocket.opened).toHaveLength(count);
  await jest.advanceTimersByTimeAsync(10_000);
  expect(FakeSocket.opened).toHaveLength(count + 1);
});

test('when nothing answers, what was known stays and is marked', async () => {
  events().accept();
  push(clusterJson('old'));
  events().drop();
  await jest.advanceTimersByTimeAsync(4000);
  expect(model.link).toBe('lost');
  expect(model.find('old')).toBeDefined();
});

test('a start shows at once and is over when the cluster runs', async () => {
  const starting = clusterJson('new', { state: 'starting', id: null });
  server.answers.set('POST clusters', { status: 202, json: starting });
  events().accept();
  push();
  const name = await model.start({
    name: 'new',
    workers: 1,
    cores: null,
    memoryBytes: null,
    lifetime: 'server',
    idleTimeoutS: null,
    kernelName: null,
    kernelId: null
  });
  expect(model.find(name)?.state).toBe('starting');
  const over = jest.fn();
  void model.started(name).then(over);
  await settle();
  expect(over).not.toHaveBeenCalled();
  push(clusterJson('new'));
  await settle();
  expect(over).toHaveBeenCalled();
});

test('a start that fails rejects with the reason, one that is given up with a sentence', async () => {
  events().accept();
  push(clusterJson('new', { state: 'starting' }));
  const failed = model.started('new');
  push(clusterJson('new', { state: 'failed', reason: 'no memory' }));
  await expect(failed).rejects.toThrow('no memory');

  push(clusterJson('new', { state: 'starting' }));
  const given = model.started('new');
  push();
  await expect(given).rejects.toThrow('given up');
});

test('a stop shows at once, and an error of it is told', async () => {
  server.answers.set('GET clusters', { json: [clusterJson('a')] });
  server.answers.set('DELETE clusters/a', { status: 502, json: { message: 'It hangs.' } });
  events().accept();
  push(clusterJson('a'));
  const stopped = model.stop('a');
  expect(model.find('a')?.state).toBe('stopping');
  await expect(stopped).rejects.toThrow('It hangs.');
  expect(model.find('a')?.state).toBe('running');
});

test('a scale shows what is wanted when it is taken', async () => {
  server.answers.set('PATCH clusters/a', { json: clusterJson('a', { wanted: 3 }) });
  events().accept();
  push(clusterJson('a'));
  await model.scale('a', 3);
  expect(server.requests.at(-1)?.body).toEqual({ workers: 3 });
  expect(model.find('a')).toMatchObject({ workers: 1, wanted: 3 });
});

test('panes of a cluster share a socket, which asks for what they show', () => {
  const seen: [string, ViewColumns][] = [];
  const first = model.watch('a', 'groups', columns => seen.push(['groups', columns]));
  const socket = FakeSocket.last('clusters/a/watch');
  socket.accept();
  const second = model.watch('a', 'activity', columns => seen.push(['activity', columns]));
  expect(FakeSocket.last('clusters/a/watch')).toBe(socket);
  expect(socket.sent).toEqual([{ views: ['groups'] }, { views: ['groups', 'activity'] }]);

  const columns = { rows: { y: [1] } };
  socket.say({ type: 'snapshot', views: { groups: columns, other: {} } });
  expect(seen).toEqual([['groups', columns]]);

  first.dispose();
  expect(socket.sent.at(-1)).toEqual({ views: ['activity'] });
  second.dispose();
  expect(socket.readyState).toBe(3);

  model.watch('a', 'groups', () => undefined);
  expect(FakeSocket.last('clusters/a/watch')).not.toBe(socket);
});

test('a watch says again what it wants when its socket is back', async () => {
  model.watch('a', 'groups', () => undefined);
  const socket = FakeSocket.last('clusters/a/watch');
  socket.accept();
  socket.drop();
  await jest.advanceTimersByTimeAsync(1000);
  const next = FakeSocket.last('clusters/a/watch');
  expect(next).not.toBe(socket);
  next.accept();
  expect(next.sent).toEqual([{ views: ['groups'] }]);
});

test('nothing goes on after its end', async () => {
  const watch = jest.fn();
  model.watch('a', 'groups', watch);
  const sockets = [...FakeSocket.opened];
  model.dispose();
  const count = changes;
  expect(sockets.every(socket => socket.readyState === 3)).toBe(true);
  await jest.advanceTimersByTimeAsync(60_000);
  expect(FakeSocket.opened).toHaveLength(sockets.length);
  expect(server.requests).toEqual([]);
  expect(changes).toBe(count);
});
